r"""Repeat the paper's tables and figures: run every row with several seeds, set it beside ours.

  python -m vpr_training.experiments --table pooling --data.root GSV_XS --output experiments \
      --evaluate "SF-XS val=sf_xs/val" "SF-XS test=sf_xs/test" "Tokyo-XS=tokyo_xs/test"
  python -m vpr_training.experiments --figure lr --output experiments

The first set also chooses the best epoch. Rows that are done are not run again; a stopped one goes
on where it was. Every setting of training can be given, and then holds for all rows.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpr_ros.cli.command import command
from vpr_ros.core.describing.shipped import share_folders
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.recall_set import RecallSet
from vpr_training.paper import figures as experiment_figures
from vpr_training.paper import published as paper
from vpr_training.paper import tables as experiment_tables
from vpr_training.paper.seeded_run import Run, duration
from vpr_training.runs.settings import read_settings

_TABLE_OF_FIGURE = {'epochs': 'schedulers', 'retrieved': 'pooling'}
_EPOCHS_OF_LR_FIGURE = 15


def runs_of_table(
    name: str, output: Path, seeds: int, overrides: Sequence[str]
) -> dict[str, list[Run]]:
    """The runs of a table by the name of their file of settings; rows may share runs."""
    names = dict.fromkeys(row.config for row in paper.TABLES[name])
    return {one: _seeded(one, one, output, seeds, overrides) for one in names}


def runs_of_grid(output: Path, seeds: int, overrides: Sequence[str]) -> dict[str, list[Run]]:
    """The runs of figure 2 by optimizer, learning rate and weight decay."""
    runs = {}
    for optimizer, (rates, decays) in paper.GRID.items():
        for rate in rates:
            for decay in decays:
                name = f'{optimizer}_lr{rate:g}_wd{decay:g}'
                values = [f'--optimizer.lr={rate}', f'--optimizer.weight_decay={decay}']
                config = f'resnet18_gem_{optimizer}'
                runs[name] = _seeded(config, f'grid/{name}', output, seeds, [*overrides, *values])
    return runs


def _seeded(
    config: str, name: str, output: Path, seeds: int, overrides: Sequence[str]
) -> list[Run]:
    path = _config_file(config)
    return [
        Run(path, output / name / f'seed{seed}', (*overrides, f'--seed={seed}'))
        for seed in range(seeds)
    ]


def _config_file(name: str) -> Path:
    for folder in share_folders():
        if (path := folder / 'config' / 'train' / f'{name}.yaml').is_file():
            return path
    raise TrainingError(f'config/train/{name}.yaml: not in this installation')


def _complete(runs: Sequence[Run], sets: Mapping[str, RecallSet], roots: Sequence[str]) -> None:
    """Run or resume what is not done yet, one after another."""
    for number, run in enumerate(runs, start=1):
        state = run.state()
        print(f'[{number}/{len(runs)}] {run.folder}: {state}', flush=True)
        if state in ('new', 'stopped'):
            status = subprocess.call(run.command(validation=roots[:1]))
            if status == 130:
                raise KeyboardInterrupt('stopped by Ctrl-C; the same command goes on')
            if status:
                raise TrainingError(f'{run.folder}: its training ended with status {status}')
        if run.state() != 'measured':
            run.measure(sets)


def _plan(runs: Sequence[Run]) -> str:
    """What would run, and for how long on this machine."""
    lines, total = [], 0.0
    for run in runs:
        state = run.state()
        seconds = 0.0 if state in ('trained', 'measured') else run.seconds_left()
        total += seconds
        lines.append(f'  {run.folder}: {state}' + (f', {duration(seconds)}' if seconds else ''))
    return '\n'.join([*lines, f'{len(runs)} runs, about {duration(total)} on this machine'])


def _evaluation_sets(given: Sequence[str], radius_m: float | None) -> dict[str, RecallSet]:
    sets = {}
    for one in given:
        name, _, folder = one.rpartition('=')
        if not name:
            raise TrainingError(f'--evaluate {one}: expected NAME=DIR, as "SF-XS val=sf_xs/val"')
        sets[name] = open_recall_set(Path(folder), radius_m=radius_m)
    return sets


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m vpr_training.experiments',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='Further flags are settings of training: python -m vpr_training.train --help',
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--table', choices=tuple(paper.TABLES), help='run and write this table')
    what.add_argument(
        '--figure',
        choices=('lr', 'grid', *_TABLE_OF_FIGURE),
        help='lr: learning rate over epochs, needs no data; grid: R@1 over learning rate and '
        'weight decay; epochs: R@1 per epoch and scheduler; retrieved: images side by side',
    )
    parser.add_argument(
        '--output', required=True, type=Path, metavar='DIR', help='for runs, tables and figures'
    )
    parser.add_argument(
        '--evaluate',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=DIR',
        help='evaluation sets, the columns of the tables; the first chooses the best epoch',
    )
    parser.add_argument('--seeds', type=int, default=3, help='runs of each row (3)')
    parser.add_argument(
        '--dry-run', action='store_true', help='print what would run and for how long'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments, overrides = _parser().parse_known_args(argv)
    output: Path = arguments.output
    if arguments.seeds < 1:
        raise TrainingError(f'--seeds {arguments.seeds}: expected 1 or more')
    if arguments.figure == 'lr':
        print(experiment_figures.draw_rates(output, _EPOCHS_OF_LR_FIGURE))
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
        print(_plan(every))
        return 0
    if not sets:
        raise TrainingError('--evaluate: give at least one set, as "SF-XS val=sf_xs/val"')
    _complete(every, sets, [one.rpartition('=')[2] for one in arguments.evaluate])
    if not table:
        print(experiment_figures.draw_grid(output, runs))
        return 0
    print(experiment_tables.write(table, runs, output))
    if table == 'schedulers':
        print(experiment_figures.draw_epochs(output, runs))
    elif table == 'pooling':
        for path in experiment_figures.draw_retrieved(output, runs, sets):
            print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
