"""Tables of experiments, with the paper's figures beside ours and the difference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.core.plurals import counted
from vpr_training.basics.files import write_csv, write_file
from vpr_training.paper.published import SETS, TABLES, Row
from vpr_training.paper.seeded_run import Run

_NS = ('1', '5')
_COLUMNS = ('table', 'pooling', 'varied', 'set', 'n', 'mean', 'deviation', 'seeds', 'paper',
            'difference')  # fmt: skip


def write_table(
    name: str, runs: Mapping[str, Sequence[Run]], sets: Sequence[str], output: Path
) -> str:
    """Write DIR/NAME.md and DIR/NAME.csv; returns the Markdown.

    runs: by the name of their settings, each with a run per seed. sets: names of the columns.
    """
    cells = [cell for row in TABLES[name] for cell in _cells(name, row, runs[row.config], sets)]
    markdown = _markdown(name, cells)
    write_csv(output / f'{name}.csv', _COLUMNS, cells)
    write_file(output / f'{name}.md', markdown)
    return markdown


def _cells(table: str, row: Row, runs: Sequence[Run], sets: Sequence[str]) -> list[dict[str, Any]]:
    """A line of the CSV per set and N; recalls in percent."""
    measured = [run.recall(sets) for run in runs]
    cells: list[dict[str, Any]] = []
    for name in sets:
        for place, n in enumerate(_NS):
            ours = [100 * recall[name][n] for recall in measured]
            published = row.recall[SETS.index(name)][place] if name in SETS else None
            mean = float(np.mean(ours))
            cells.append(
                {
                    'table': table,
                    'pooling': row.pooling,
                    'varied': row.varied,
                    'set': name,
                    'n': n,
                    'mean': round(mean, 2),
                    'deviation': round(float(np.std(ours, ddof=1)), 2) if len(ours) > 1 else '',
                    'seeds': len(ours),
                    'paper': '' if published is None else published,
                    'difference': '' if published is None else round(mean - published, 2),
                }
            )
    return cells


def _markdown(name: str, cells: Sequence[Mapping[str, Any]]) -> str:
    sets = list(dict.fromkeys(str(cell['set']) for cell in cells))
    varied = any(cell['varied'] for cell in cells)
    seeds = cells[0]['seeds']
    columns = [one.replace('|', r'\|') for one in sets]
    head = ['pooling', *([name.removesuffix('s')] if varied else []), *columns]
    lines = [
        f'Recall@1 / Recall@5 in percent, mean ± deviation over {counted(seeds, "seed")}; '
        'the paper and the difference in brackets.',
        '',
        '| ' + ' | '.join(head) + ' |',
        '|' + '---|' * len(head),
    ]
    for pooling, kind in dict.fromkeys((cell['pooling'], cell['varied']) for cell in cells):
        texts = []
        for one in sets:
            found = [
                _cell(cell)
                for cell in cells
                if (cell['pooling'], cell['varied'], cell['set']) == (pooling, kind, one)
            ]
            texts.append(' / '.join(found))
        lines.append(
            '| ' + ' | '.join([str(pooling), *([str(kind)] if varied else []), *texts]) + ' |'
        )
    return '\n'.join(lines) + '\n'


def _cell(cell: Mapping[str, Any]) -> str:
    text = f'{cell["mean"]:.1f}'
    if cell['deviation'] != '':
        text += f' ± {cell["deviation"]:.1f}'
    if cell['paper'] != '':
        text += f' ({cell["paper"]}, {cell["difference"]:+.1f})'
    return text
