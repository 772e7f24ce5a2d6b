"""Photograph one town on many drives, to judge localization when everything but the place changes.

Light, weather, season, lane, direction, what is parked and where the route ends differ from drive
to drive; the town stays. The table below is plain data. Each drive becomes a posed folder with
exact poses; frames that exist are skipped, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from render import (
    POSES_NAME,
    Filming,
    missing_frames,
    photograph,
    plan_filming,
    poses_table,
    write_descriptions,
)
from world import CONDITIONS, DRIVES, Camera, Condition, Drive, World

OUTPUT = Path('outputs/worlds')


@dataclass(frozen=True, slots=True)
class JudgedDrive:
    """One drive of the set: what the town looks like, and how the robot travels through it."""

    condition: Condition
    plan: Drive


_DAY, _MAPPING, _REVISIT = CONDITIONS['day'], DRIVES['mapping'], DRIVES['revisit']

# Dusk, night, rain, snow and lane share one weave: between the first four only the light and the
# season differ, and what is parked. The others have a weave of their own.
JUDGED_DRIVES: Mapping[str, JudgedDrive] = {
    'day': JudgedDrive(_DAY, _MAPPING),
    'dusk': JudgedDrive(CONDITIONS['dusk'], _REVISIT),
    'night': JudgedDrive(CONDITIONS['night'], _REVISIT),
    'rain': JudgedDrive(CONDITIONS['rain'], _REVISIT),
    'fog': JudgedDrive(
        CONDITIONS['fog'],
        replace(_MAPPING, lane_m=-0.5, weave_m=0.12, heading_noise_deg=1.2, seed=3),
    ),
    'snow': JudgedDrive(CONDITIONS['snow'], _REVISIT),
    'lane': JudgedDrive(_DAY, replace(_REVISIT, lane_m=1.6)),
    'oncoming': JudgedDrive(
        replace(_DAY, start_utc='2026-06-02T12:00:00+00:00', clutter_seed=103),
        replace(_MAPPING, route='oncoming', seed=4),
    ),
    'traffic': JudgedDrive(
        replace(
            _DAY,
            start_utc='2026-06-03T12:00:00+00:00',
            clutter_seed=101,
            parked_share=0.9,
            van_share=0.4,
            oncoming_every_m=26.0,
        ),
        replace(_MAPPING, lane_m=-1.0, weave_m=0.12, heading_noise_deg=1.2, seed=5),
    ),
    'detour': JudgedDrive(
        replace(_DAY, start_utc='2026-06-04T12:00:00+00:00', clutter_seed=107),
        replace(_MAPPING, lane_m=-1.5, cruise_mps=6.6, corner_mps=1.8, route='returning', seed=6),
    ),
}


def plan_drive(world: World, name: str) -> Filming:
    """Return the plan of one drive of the table; equal towns give equal plans."""
    judged = JUDGED_DRIVES[name]
    return plan_filming(world, judged.condition, judged.plan, Camera())


def drive_folder(output: Path, town: int, name: str) -> Path:
    """Return where the posed folder of a drive lies."""
    return output / f'town{town}' / name


def prepare(filming: Filming, folder: Path) -> list[int]:
    """Write what a posed folder says besides pictures; returns the frames that lack a picture.

    Raises ValueError if the folder holds other poses: its pictures would be of another drive.
    """
    poses = folder / POSES_NAME
    if poses.exists() and poses.read_text() != poses_table(filming):
        raise ValueError(
            f'{folder}: holds the pictures of another plan; remove it or choose another --output'
        )
    write_descriptions(filming, folder)
    return missing_frames(filming, folder)


def main() -> None:
    """Render what is missing of the chosen drives, drive by drive."""
    parser = _parser()
    args = parser.parse_args()
    world = World.generate(args.town)
    plans = {name: plan_drive(world, name) for name in dict.fromkeys(args.drives)}
    try:
        missing = {
            name: prepare(plan, drive_folder(args.output, args.town, name))
            for name, plan in plans.items()
        }
    except ValueError as error:
        parser.error(str(error))
    _announce(args.town, plans, missing)
    progress = _Progress(total=sum(len(frames) for frames in missing.values()))
    for name, frames in missing.items():
        if not frames:
            continue
        folder = drive_folder(args.output, args.town, name)
        drawn = photograph(plans[name], folder, frames, samples=args.samples, threads=args.threads)
        for here, _ in enumerate(drawn, start=1):
            progress.tell(f'town {args.town} {name} {here}/{len(frames)}')
        print(f'{folder}: complete', flush=True)


def _announce(
    town: int, plans: Mapping[str, Filming], missing: Mapping[str, Sequence[int]]
) -> None:
    for name, plan in plans.items():
        print(
            f'town {town} {name}: {len(plan.times_s)} frames over {plan.motion.length_m:.0f} m, '
            f'{len(missing[name])} to render',
            flush=True,
        )


class _Progress:
    """How far the whole set is, and how long the rest takes at the rate so far."""

    def __init__(self, *, total: int) -> None:
        self._total, self._done, self._began = total, 0, time.monotonic()

    def tell(self, where: str) -> None:
        self._done += 1
        each_s = (time.monotonic() - self._began) / self._done
        left_min = each_s * (self._total - self._done) / 60
        print(
            f'{where}  all {self._done}/{self._total}  {each_s:.2f} s a frame  '
            f'{left_min:.1f} min left',
            flush=True,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--town', type=int, default=21, help="the town's seed (the demo's is 7)")
    parser.add_argument('--output', type=Path, default=OUTPUT, help='holds townSEED/DRIVE')
    parser.add_argument(
        '--drives',
        nargs='+',
        choices=list(JUDGED_DRIVES),
        default=list(JUDGED_DRIVES),
        metavar='DRIVE',
        help=f'all unless named: {", ".join(JUDGED_DRIVES)}',
    )
    parser.add_argument('--samples', type=int, default=2, help='light paths per pixel')
    parser.add_argument('--threads', type=int, default=1)
    return parser


if __name__ == '__main__':
    main()
