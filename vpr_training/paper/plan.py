"""Which runs a table or a figure of the paper needs, and how they come to be done."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vpr_ros.core.describing.shipped import share_folders
from vpr_ros.core.errors import Terminated
from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import TrainingError
from vpr_training.data.recall_set import RecallSet
from vpr_training.paper.forecast import Forecast
from vpr_training.paper.published import GRID, TABLES
from vpr_training.paper.seeded_run import Run, duration


def runs_of_table(
    name: str, output: Path, seeds: int, overrides: Sequence[str]
) -> dict[str, list[Run]]:
    """The runs of a table by the name of their file of settings; rows may share runs."""
    names = dict.fromkeys(row.config for row in TABLES[name])
    return {one: _seeded(one, one, output, seeds, overrides) for one in names}


def runs_of_grid(output: Path, seeds: int, overrides: Sequence[str]) -> dict[str, list[Run]]:
    """The runs of figure 2 by optimizer, learning rate and weight decay."""
    runs = {}
    for optimizer, (rates, decays) in GRID.items():
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
    raise TrainingError(
        f'config/train/{name}.yaml: this installation does not have it; install the package again'
    )


def complete(
    runs: Sequence[Run],
    sets: Mapping[str, RecallSet],
    roots: Sequence[str],
    *,
    say: Callable[[str], object],
) -> set[str]:
    """Run or resume what is not done yet, one after another; say: takes what is for people.

    Gives the names of the sets that some run was measured on.
    """
    anew: set[str] = set()
    for run in runs:  # before hours of training
        run.require_same_settings()
        if run.state() != 'new':
            run.require_chosen_on(roots[0])
    for number, run in enumerate(runs, start=1):
        state = run.state()
        say(f'[{number}/{len(runs)}] {run.folder}: {state}')
        if state in ('new', 'stopped'):
            status = _status_of(run.command(validation=roots[:1]))
            if status == 130:
                raise KeyboardInterrupt('stopped; the same command continues from there')
            if status:
                raise TrainingError(f'{run.folder}: its training ended with status {status}')
        if measured := run.measure(sets):
            say(f'  measured on {", ".join(measured)}')
            anew.update(measured)
    return anew


def _status_of(command: Sequence[str]) -> int:
    """Run a command to its end. Ctrl-C reaches it as well, SIGTERM not; it needs time to save."""
    with subprocess.Popen(command) as training:
        while True:
            try:
                return training.wait()
            except Terminated:
                training.terminate()
            except KeyboardInterrupt:  # subprocess.call would kill it after a quarter of a second
                continue


def as_text(runs: Sequence[Run]) -> str:
    """What would run, and for how long on this machine."""
    lines, total, forecast = [], 0.0, Forecast()
    for run in runs:
        run.require_same_settings()
        seconds = forecast.seconds_left(run)
        total += seconds
        lines.append(
            f'  {run.folder}: {run.state()}' + (f', {duration(seconds)}' if seconds else '')
        )
    return '\n'.join(
        [*lines, f'{counted(len(runs), "run")}, about {duration(total)} on this machine']
    )
