"""Photograph one drive through the town into a posed folder.

Frames that exist are skipped, so a stopped run goes on where it was. The renderer is a development
extra: the demo plays the recorded drives and never needs it.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import drive
from world import CONDITIONS, DRIVES, Camera, Condition, Drive, World

ODOMETRY_HZ = 20.0
JPEG_QUALITY = 85
POSE_COLUMNS = ('stamp_s', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


def main() -> None:
    """Render the frames of one condition, or only the chosen ones."""
    args = _arguments()
    world, camera = World.generate(args.seed), Camera(horizontal_fov_deg=args.fov)
    condition, plan = (
        CONDITIONS[args.condition],
        DRIVES[args.drive or ('mapping' if args.condition == 'day' else 'revisit')],
    )
    if args.lane is not None:
        plan = replace(plan, lane_m=args.lane)
    motion = drive.plan_motion(world.detour_route if plan.detour else world.mapped_route, plan)
    times = drive.frame_times(motion, plan)
    xy, yaw = motion.at(times)
    map_T_camera = drive.base_matrices(xy, yaw) @ drive.mounting(camera)
    (args.output / 'images').mkdir(parents=True, exist_ok=True)
    _write_descriptions(args.output, camera, condition, motion, plan, times, map_T_camera)
    chosen = args.frames if args.frames else range(len(times))
    missing = [k for k in chosen if not _frame_path(args.output, k).exists()]
    print(
        f'{args.condition}: {len(times)} frames over {motion.length_m:.0f} m, '
        f'{len(missing)} to render',
        flush=True,
    )
    if missing:
        _render(world, condition, camera, map_T_camera, missing, args)


def _render(
    world: World,
    condition: Condition,
    camera: Camera,
    map_T_camera: NDArray[np.float64],
    missing: list[int],
    args: argparse.Namespace,
) -> None:
    from scene import Scene  # here, so that the descriptions can be written without the renderer

    began = time.monotonic()
    with QuietStdout():
        scene = Scene(world, condition, camera, samples=args.samples, threads=args.threads)
    print(f'scene built in {time.monotonic() - began:.1f} s', flush=True)
    began = time.monotonic()
    for done, k in enumerate(missing, start=1):
        path = _frame_path(args.output, k)
        raw = path.with_suffix('.raw.png')
        with QuietStdout():
            scene.photograph(map_T_camera[k], raw)
        develop(raw, path, condition, seed=args.seed * 100_003 + k)
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


def _write_descriptions(
    folder: Path,
    camera: Camera,
    condition: Condition,
    motion: drive.Motion,
    plan: Drive,
    times: NDArray[np.float64],
    map_T_camera: NDArray[np.float64],
) -> None:
    start_s = datetime.fromisoformat(condition.start_utc).timestamp()
    rows = [
        [f'{k:06d}.jpg', *_pose_row(start_s + t, m)]
        for k, (t, m) in enumerate(zip(times, map_T_camera))
    ]
    _write_csv(folder / 'poses.csv', ('image', *POSE_COLUMNS), rows)
    ticks = np.arange(int(motion.duration_s * ODOMETRY_HZ) + 1) / ODOMETRY_HZ
    poses = drive.base_matrices(*motion.at(ticks))
    _write_csv(
        folder / 'odometry.csv',
        POSE_COLUMNS,
        [_pose_row(start_s + t, m) for t, m in zip(ticks, poses)],
    )
    (folder / 'camera_info.yaml').write_text(_camera_info(camera))
    m = drive.mounting(camera)
    quat = ', '.join(f'{c:.9f}' for c in drive.quaternion_xyzw(m[:3, :3]))
    position = ', '.join(f'{c:.6f}' for c in m[:3, 3])
    (folder / 'mounting.yaml').write_text(
        f'# base_T_camera, optical frame\nposition_m: [{position}]\nquat_xyzw: [{quat}]\n'
    )


def _pose_row(stamp_s: float, matrix: NDArray[np.float64]) -> list[str]:
    numbers = [*matrix[:3, 3], *drive.quaternion_xyzw(matrix[:3, :3])]
    return [f'{stamp_s:.6f}', *(f'{number:.9f}' for number in numbers)]


def _write_csv(path: Path, header: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)


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
