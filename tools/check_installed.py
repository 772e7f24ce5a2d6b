"""Check an installation outside of the source tree: map the demo's day, evaluate its dusk.

Wheels and containers are checked alike, by this program, which needs nothing but Python. It runs
the installed commands in an empty folder, without PYTHONPATH, and reads the figures they leave.

    python tools/check_installed.py --commands VENV/bin
    python tools/check_installed.py --commands WS/install/vpr_ros/lib/vpr_ros --live

Exit status: 0 all well; 1 a command failed or a figure is too low.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LEAST_RECALL, _MOST_FALSE = 0.75, 0.02  # of the drive at dusk; it has 0.84 and 0.00
_LONGEST_S = 300


class CheckError(Exception):
    """A command failed, or what it left is not what it should be."""


@dataclass(frozen=True)
class Done:
    """One step of the check, as the table shows it."""

    name: str
    seconds: float
    found: str


def main() -> int:
    """Run the commands and print what each took."""
    arguments = _parser().parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix='vpr_ros-check-') as folder:
            steps = check(arguments.commands, arguments.drives, Path(folder), live=arguments.live)
    except CheckError as error:
        print(f'check_installed: {error}', file=sys.stderr)
        return 1
    for step in steps:
        print(f'{step.name:<22}{step.seconds:6.1f} s   {step.found}')
    return 0


def check(commands: Path, drives: Path, folder: Path, *, live: bool) -> list[Done]:
    """Map one drive and evaluate the other by the programs in `commands`; raises CheckError."""
    made = folder / 'map'
    steps = [
        _step('build_map', commands, folder, '--bag', drives / 'day', '--output', made),
        _evaluated(commands, folder, made, drives, 'evaluate_bag'),
    ]
    if live:
        steps.append(_evaluated(commands, folder, made, drives, 'evaluate_bag --live', '--live'))
    return steps


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--commands', required=True, type=Path, metavar='DIR', help='the installed commands'
    )
    parser.add_argument(
        '--drives',
        type=Path,
        default=ROOT / 'demo' / 'drives',
        metavar='DIR',
        help='the demo, with the drives day and dusk (default: this tree has it)',
    )
    parser.add_argument(
        '--live', action='store_true', help='through the running node as well; needs rclpy'
    )
    return parser


def _evaluated(
    commands: Path, folder: Path, made: Path, drives: Path, name: str, *flags: str
) -> Done:
    """Evaluate the drive at dusk and hold its figures against what the demo is known to reach."""
    written = folder / 'figures.json'
    written.unlink(missing_ok=True)
    given = ('--map', made, '--bag', drives / 'dusk', '--radius', '5', '--json', written)
    step = _step(name, commands, folder, *given, *flags)
    figures = json.loads(written.read_text(encoding='utf-8'))
    recall, false_fixes = figures['recall']['1'], figures['false_fixes']
    if recall < _LEAST_RECALL or false_fixes > _MOST_FALSE:
        raise CheckError(
            f'{name}: Recall@1 {recall:.3f} and false fixes {false_fixes:.3f}, '
            f'expected at least {_LEAST_RECALL} and at most {_MOST_FALSE}'
        )
    return Done(name, step.seconds, f'Recall@1 {recall:.3f}, false fixes {false_fixes:.3f}')


def _step(name: str, commands: Path, folder: Path, *arguments: str | Path) -> Done:
    program = (commands / name.split()[0]).absolute()
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    if 'AMENT_PREFIX_PATH' in os.environ:  # sourced: ROS 2 is found by PYTHONPATH
        variables = dict(os.environ)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f'{name}: {error}') from error
    if done.returncode:
        raise CheckError(f'{name} ended with status {done.returncode}: {done.stdout[-2000:]}')
    return Done(name, time.monotonic() - started, done.stdout.splitlines()[-1])


if __name__ == '__main__':
    sys.exit(main())
