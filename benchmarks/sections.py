"""What every speed benchmark gives: a table whose rows put us beside what one would take instead.

Both sides of a row are measured in one run, taking turns, so that a noisy machine hits both alike
and their ratio holds. A benchmark file calls `run` with the function that measures; with --json it
prints the section for performance.py, which puts all of them on one page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from inputs import DRIVES

if TYPE_CHECKING:
    from vpr_ros.core.describing.describe import Describer

COLUMNS = ('', 'vpr_ros', 'compared with', '', 'ratio')
WARM_UP = 3
PAUSE_S = 0.03  # between calls, as a camera has it


@dataclass
class Section:
    """One table and what it means."""

    title: str
    means: str  # for the user, in one sentence
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)  # as COLUMNS
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        ours: float,
        beside: str = '',
        theirs: float | None = None,
        *,
        unit: str = 'ms',
        more_is_better: bool = False,
    ) -> None:
        """A row; the ratio is how many times better we are."""
        if theirs is None:
            self.rows.append((what, f'{number(ours)} {unit}', beside, '', ''))
            return
        ratio = ours / theirs if more_is_better else theirs / ours
        self.rows.append(
            (what, f'{number(ours)} {unit}', beside, f'{number(theirs)} {unit}', f'{ratio:.2f}')
        )

    def markdown(self) -> str:
        """The section as text."""
        lines = [f'## {self.title}', '', self.means, '']
        lines += ['| ' + ' | '.join(COLUMNS) + ' |', '|' + '---|' * len(COLUMNS)]
        lines += ['| ' + ' | '.join(row) + ' |' for row in self.rows]
        return '\n'.join([*lines, *(f'\n{note}' for note in self.notes)])


def number(value: float) -> str:
    """Three figures, at least."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f'{value:,.{digits}f}'


def medians_ms(calls: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median time of each call in ms; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + WARM_UP):
        for name, call in calls.items():
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            call()
            if round_number >= WARM_UP:
                taken[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) * 1e3 for name, times in taken.items()}


def map_of_day(describer: Describer, output: Path) -> int:
    """A map of the demo's day as `build_map` makes it unasked, with landmarks; its places."""
    from vpr_ros.drives import open_drive
    from vpr_ros.map_care.build import MapOptions, build_map
    from vpr_ros.map_care.landmark_kind import chosen_features

    drive = open_drive(DRIVES / 'day')
    features = chosen_features(None, drive, describer.model.card.cells)
    return build_map(drive, describer, output, MapOptions(features=features)).mapped


def find_openvino() -> None:
    """Let `import` find the OpenVINO that `make setup-test` puts apart; of a benchmark's process.

    Who only imports a benchmark does not get it: OpenVINO's signal stack breaks pytest.
    """
    sys.path.append(str(Path(sys.prefix) / 'openvino'))


def run(description: str, measure: Callable[[bool], list[Section]]) -> None:
    """The command of a benchmark file; measure: from whether it is to be quick."""
    parser = argparse.ArgumentParser(description=description.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='fewer and smaller, to see it work')
    parser.add_argument('--json', action='store_true', help='for performance.py')
    arguments = parser.parse_args()
    find_openvino()
    sections = measure(arguments.quick)
    if arguments.json:
        json.dump([asdict(section) for section in sections], sys.stdout)
    else:
        print('\n\n'.join(section.markdown() for section in sections))
