r"""Repeat the paper's tables and figures: run every row with several seeds, and compare.

  python -m vpr_training.experiments --table pooling --data.root GSV_XS --output experiments \
      --evaluate "SF-XS val=sf_xs/val" "SF-XS test=sf_xs/test" "Tokyo-XS=tokyo_xs/test"
  python -m vpr_training.experiments --figure lr --output experiments

The first set also chooses the best epoch. Finished rows are not run again, and a stopped row
continues from where it was. A setting of training that you give applies to all rows.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vpr_ros.cli.command import Parser, command
from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import require_writable_folder
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.recall_set import RecallSet
from vpr_training.paper.figures import draw_epochs, draw_grid, draw_rates, draw_retrieved
from vpr_training.paper.plan import as_text, complete, runs_of_grid, runs_of_table
from vpr_training.paper.published import TABLES
from vpr_training.paper.tables import write_table
from vpr_training.runs.settings_parser import read_settings

_TABLE_OF_FIGURE = {'epochs': 'schedulers', 'retrieved': 'pooling'}
_EPOCHS_OF_LR_FIGURE = 15
_TAKEN = {
    '--seed': 'each run has its own; say how many with --seeds',
    '--validation.roots': 'the first set of --evaluate chooses the best epoch',
    '--config': 'each row of a table has its own',
}
_TAKEN_BY_GRID = {
    '--optimizer.lr': 'the grid has its own',
    '--optimizer.weight_decay': 'the grid has its own',
}
"""Settings that a run gets from this command -> why they cannot be given."""


def _evaluation_sets(given: Sequence[str], radius_m: float | None) -> dict[str, RecallSet]:
    sets = {}
    for one in given:
        name, _, folder = one.rpartition('=')
        if not name:
            raise TrainingError(f'--evaluate {one}: expected NAME=DIR, as "SF-XS val=sf_xs/val"')
        if name in sets:
            raise TrainingError(f'--evaluate {one}: two sets have the name {name}; change one')
        sets[name] = open_recall_set(Path(folder), radius_m=radius_m)
        sets[name].require_matches('--evaluate')
    return sets


def _require_free(overrides: Sequence[str], figure: str | None) -> None:
    """Raise TrainingError for flags that no run would get, or that would break the comparison."""
    if figure == 'lr' and overrides:
        raise TrainingError(f'{overrides[0]}: the figure lr takes no settings of training')
    given = [word.partition('=')[0] for word in overrides]
    taken = _TAKEN | (_TAKEN_BY_GRID if figure == 'grid' else {})
    for flag in given:
        if flag in taken:
            raise TrainingError(f'{flag}: {taken[flag]}')


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(
        prog='python -m vpr_training.experiments',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='Further flags are settings of training: python -m vpr_training.train --help',
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--table', choices=tuple(TABLES), help='run and write this table')
    what.add_argument(
        '--figure',
        choices=('lr', 'grid', *_TABLE_OF_FIGURE),
        help='draw this figure. lr: learning rate over epochs (needs no data); grid: R@1 over '
        'learning rate and weight decay; epochs: R@1 per epoch and scheduler; retrieved: images '
        'side by side',
    )
    parser.add_argument(
        '--output',
        required=True,
        type=Path,
        metavar='DIR',
        help='folder for runs, tables and figures',
    )
    parser.add_argument(
        '--evaluate',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=DIR',
        help='evaluation sets, which become the columns of the tables; the first one chooses the '
        'best epoch',
    )
    parser.add_argument(
        '--seeds', type=int, default=3, help='number of runs for each row (default: 3)'
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='only print what would run, and for how long'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments, overrides = make_parser().parse_known_args(argv)
    output: Path = arguments.output
    if arguments.seeds < 1:
        raise TrainingError(f'--seeds {arguments.seeds}: expected 1 or more')
    _require_free(overrides, arguments.figure)
    if arguments.figure == 'lr':
        print(draw_rates(output, _EPOCHS_OF_LR_FIGURE))
        return 0
    table = arguments.table or _TABLE_OF_FIGURE.get(arguments.figure, '')
    runs = (
        runs_of_table(table, output, arguments.seeds, overrides)
        if table
        else runs_of_grid(output, arguments.seeds, overrides)
    )
    every = [run for same in runs.values() for run in same]
    radius = read_settings(every[0].config, overrides).validation.radius or None
    sets = _evaluation_sets(arguments.evaluate, radius)
    if arguments.dry_run:
        print(as_text(every))
        return 0
    if not sets:
        raise TrainingError('--evaluate: give at least one set, as "SF-XS val=sf_xs/val"')
    require_writable_folder(output)
    roots = [one.rpartition('=')[2] for one in arguments.evaluate]
    anew = complete(every, sets, roots, say=partial(print, flush=True))
    if not table:
        print(draw_grid(output, runs, next(iter(sets))))
        return 0
    print(write_table(table, runs, list(sets), output))
    if table == 'schedulers':
        print(draw_epochs(output, runs))
    elif table == 'pooling':
        for path in draw_retrieved(output, runs, sets, anew):
            print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
