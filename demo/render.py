"""Photograph one drive through the town into a posed folder.

Frames that exist are skipped, so a stopped run goes on where it was. The renderer is a development
extra: the demo plays the recorded drives and never needs it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import drive
from world import CONDITIONS, DRIVES, Camera, Condition, Drive, World

ODOMETRY_HZ = 20.0
JPEG_QUALITY = 85
POSES_NAME = 'poses.csv'
POSE_COLUMNS = ('stamp_s', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


@dataclass(frozen=True, slots=True)
class Filming:
    """One drive to photograph: the town, how it looks that day, and where each picture is taken.

    times_s [N] from the start of the drive; map_T_camera [N, 4, 4] of the optical frame.
    """

    world: World
    condition: Condition
    camera: Camera
    motion: drive.Motion
    times_s: NDArray[np.float64]
    map_T_camera: NDArray[np.float64]


def plan_filming(world: World, condition: Condition, plan: Drive, camera: Camera) -> Filming:
    """Return the exact poses and times of a drive; equal arguments give equal plans."""
    motion = drive.plan_motion(world.corners(plan.route), plan)
    times_s = drive.frame_times(motion, plan)
    map_T_camera = drive.base_matrices(*motion.at(times_s)) @ drive.mounting(camera)
    return Filming(world, condition, camera, motion, times_s, map_T_camera)


def missing_frames(filming: Filming, folder: Path) -> list[int]:
    """Return the numbers of the frames that have no picture yet."""
    return [k for k in range(len(filming.times_s)) if not _frame_path(folder, k).exists()]


def photograph(
    filming: Filming, folder: Path, frames: Sequence[int], *, samples: int, threads: int
) -> Iterator[Path]:
    """Draw these frames into a posed folder one by one; yields the path of each finished one."""
    from scene import Scene  # here, so that the descriptions can be written without the renderer

    world, condition = filming.world, filming.condition
    with QuietStdout():
        scene = Scene(world, condition, filming.camera, samples=samples, threads=threads)
    for k in frames:
        path = _frame_path(folder, k)
        raw = path.with_suffix('.raw.png')
        with QuietStdout():
            scene.photograph(filming.map_T_camera[k], raw)
        develop(raw, path, condition, seed=world.seed * 100_003 + k)
        yield path


def main() -> None:
    """Render the frames of one condition, or only the chosen ones."""
    args = _arguments()
    plan = DRIVES[args.drive or ('mapping' if args.condition == 'day' else 'revisit')]
    if args.lane is not None:
        plan = replace(plan, lane_m=args.lane)
    filming = plan_filming(
        World.generate(args.seed),
        CONDITIONS[args.condition],
        plan,
        Camera(horizontal_fov_deg=args.fov),
    )
    write_descriptions(filming, args.output)
    missing = missing_frames(filming, args.output)
    if args.frames:
        missing = [k for k in args.frames if k in missing]
    print(
        f'{args.condition}: {len(filming.times_s)} frames over {filming.motion.length_m:.0f} m, '
        f'{len(missing)} to render',
        flush=True,
    )
    began = time.monotonic()
    options = {'samples': args.samples, 'threads': args.threads}
    for done, path in enumerate(photograph(filming, args.output, missing, **options), start=1):
        each = (time.monotonic() - began) / done
        print(
            f'{path.name}  {done}/{len(missing)}  {each:.2f} s each  '
            f'{each * (len(missing) - done) / 60:.1f} min left',
            flush=True,
        )


def develop(raw: Path, path: Path, condition: Condition, *, seed: int) -> None:
    """Turn a clean render into a small camera's JPEG: darker corners and sensor noise."""
    from PIL import Image

    clean = np.asarray(Image.open(raw).convert('RGB'), dtype=np.float32)
    height, width = clean.shape[:2]
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = np.hypot((u - width / 2) / width, (v - height / 2) / width)[..., None]
    noise = np.random.default_rng(seed).normal(0.0, condition.sensor_noise, clean.shape)
    developed = np.clip(clean * (1.0 - 0.35 * radius**2) + noise, 0, 255).astype(np.uint8)
    partial = path.with_suffix('.partial')
    Image.fromarray(developed).save(partial, format='JPEG', quality=JPEG_QUALITY)
    partial.rename(path)
    raw.unlink()


def _frame_path(folder: Path, k: int) -> Path:
    return folder / 'images' / f'{k:06d}.jpg'


def write_descriptions(filming: Filming, folder: Path) -> None:
    """Make a posed folder with all but the pictures; what is there is written anew."""
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    (folder / POSES_NAME).write_text(poses_table(filming))
    start_s = _start_s(filming.condition)
    ticks = np.arange(int(filming.motion.duration_s * ODOMETRY_HZ) + 1) / ODOMETRY_HZ
    poses = drive.base_matrices(*filming.motion.at(ticks))
    rows = [_pose_row(start_s + t, m) for t, m in zip(ticks, poses)]
    (folder / 'odometry.csv').write_text(_table(POSE_COLUMNS, rows))
    camera = filming.camera
    (folder / 'camera_info.yaml').write_text(_camera_info(camera))
    m = drive.mounting(camera)
    quat = ', '.join(f'{c:.9f}' for c in drive.quaternion_xyzw(m[:3, :3]))
    position = ', '.join(f'{c:.6f}' for c in m[:3, 3])
    (folder / 'mounting.yaml').write_text(
        f'# base_T_camera, optical frame\nposition: [{position}]\nquaternion_xyzw: [{quat}]\n'
    )


def poses_table(filming: Filming) -> str:
    """Return the text of poses.csv: each picture's stamp and map_T_camera."""
    start_s = _start_s(filming.condition)
    rows = [
        [f'{k:06d}.jpg', *_pose_row(start_s + t, m)]
        for k, (t, m) in enumerate(zip(filming.times_s, filming.map_T_camera))
    ]
    return _table(('image', *POSE_COLUMNS), rows)


def _start_s(condition: Condition) -> float:
    return datetime.fromisoformat(condition.start_utc).timestamp()


def _pose_row(stamp_s: float, matrix: NDArray[np.float64]) -> list[str]:
    numbers = [*matrix[:3, 3], *drive.quaternion_xyzw(matrix[:3, :3])]
    return [f'{stamp_s:.6f}', *(f'{number:.9f}' for number in numbers)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return ''.join(','.join(row) + '\n' for row in (header, *rows))


def _camera_info(camera: Camera) -> str:
    f, cx, cy = drive.focal_px(camera), camera.width_px / 2 - 0.5, camera.height_px / 2 - 0.5
    return f"""image_width: {camera.width_px}
image_height: {camera.height_px}
camera_name: demo
distortion_model: plumb_bob
camera_matrix: {{rows: 3, cols: 3, data: [{f:.6f}, 0.0, {cx}, 0.0, {f:.6f}, {cy}, 0.0, 0.0, 1.0]}}
distortion_coefficients: {{rows: 1, cols: 5, data: [0.0, 0.0, 0.0, 0.0, 0.0]}}
rectification_matrix: {{rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}}
projection_matrix:
  rows: 3
  cols: 4
  data: [{f:.6f}, 0.0, {cx}, 0.0, 0.0, {f:.6f}, {cy}, 0.0, 0.0, 0.0, 1.0, 0.0]
"""


class QuietStdout:
    """Send the renderer's own chatter, which C code prints, to nowhere."""

    def __enter__(self) -> None:
        self._kept, self._null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(self._null, 1)

    def __exit__(self, *exc: object) -> None:
        os.dup2(self._kept, 1)
        os.close(self._kept)
        os.close(self._null)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--condition', required=True, choices=sorted(CONDITIONS))
    parser.add_argument('--output', required=True, type=Path)
    parser.add_argument(
        '--drive', choices=sorted(DRIVES), help='default: mapping by day, revisit otherwise'
    )
    parser.add_argument(
        '--lane', type=float, help='metres left of the middle of the road (negative: right)'
    )
    parser.add_argument('--seed', type=int, default=7, help='which town')
    parser.add_argument(
        '--fov', type=float, default=84.0, help='horizontal field of view in degrees'
    )
    parser.add_argument('--samples', type=int, default=8, help='light paths per pixel')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--frames', type=int, nargs='*', help='render only these frame numbers')
    return parser.parse_args()


if __name__ == '__main__':
    main()
