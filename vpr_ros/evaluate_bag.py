"""Measure how well a map answers a bag whose true poses are known.

Offline, the bag's images go straight through the core, as fast as the model runs; with --live they
go through the running node in its own process, at the bag's own speed, which adds dropped frames
and the latency from publishing an image to receiving its pose.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from vpr_ros.command import command
from vpr_ros.core.atomic import replace_file
from vpr_ros.core.config import LocalizerConfig, NodeConfig, Value, node_config
from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.errors import ConfigError, ImageError
from vpr_ros.core.localizer import Localizer
from vpr_ros.core.model import Model
from vpr_ros.core.place_map import PlaceMap, read_header
from vpr_ros.core.trajectory import Trajectory, write_tum
from vpr_ros.drives import open_drive
from vpr_ros.drives.arguments import add_drive_arguments, drive_options
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluation import Evaluation, Tolerance, answers_offline, evaluate
from vpr_ros.shipped import model_that_made


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The contract of --json; figures that do not exist (an error without any fix) are null."""
    recall = evaluation.recall
    found = {
        'recall': {str(n): share for n, share in recall.at.items()},
        'recall_interval': {str(n): list(interval) for n, interval in recall.interval.items()},
        'queries': recall.queries,
        'unmatchable': recall.unmatchable,
        'database': evaluation.database,
        'frames': evaluation.frames,
        'without_pose': evaluation.without_pose,
        'unusable': evaluation.unusable,
        'dropped': evaluation.dropped,
        'answered': evaluation.answered,
        'false_fixes': evaluation.false_fixes,
        'position_error_m': evaluation.position_error_m,
        'heading_error_deg': evaluation.heading_error_deg,
        'inside_ellipse': evaluation.inside_ellipse,
        'latency_ms': evaluation.latency_ms,
    }
    return {name: _finite(value) for name, value in found.items()}


def as_table(evaluation: Evaluation, tolerance: Tolerance) -> str:
    """The figures for a person."""
    recall = evaluation.recall
    rows = [
        (f'Recall@{n}', f'{recall.at[n]:.3f}   [{low:.3f}, {high:.3f}]')
        for n, (low, high) in recall.interval.items()
    ]
    heading = (
        '' if tolerance.heading_rad is None else f', {np.degrees(tolerance.heading_rad):.0f} deg'
    )
    rows += [
        ('right within', f'{tolerance.radius_m:g} m{heading}'),
        ('queries / places', f'{recall.queries} / {evaluation.database}'),
        ('not on the map', f'{recall.unmatchable} queries, counted as misses above'),
        ('answered', f'{evaluation.answered:.1%} of the queries got a fix'),
        ('false fixes', f'{evaluation.false_fixes:.1%} of the fixes'),
        ('position error', _spread(evaluation.position_error_m, 'm')),
        ('heading error', _spread(evaluation.heading_error_deg, 'deg')),
    ]
    if not math.isnan(evaluation.inside_ellipse):
        rows.append(('inside the ellipse', f'{evaluation.inside_ellipse:.1%}, expected 95 %'))
    rows += [
        (f'latency {stage}', f'p50 {spread["p50"]:.1f} ms, p95 {spread["p95"]:.1f} ms')
        for stage, spread in evaluation.latency_ms.items()
    ]
    rows += [
        (name, f'{count} images')
        for name, count in (
            ('without a true pose', evaluation.without_pose),
            ('not usable', evaluation.unusable),
            ('dropped', evaluation.dropped),
        )
        if count
    ]
    return '\n'.join(f'{name:<22}{value}' for name, value in rows)


def _spread(spread: dict[str, float], unit: str) -> str:
    if math.isnan(spread['median']):
        return 'not known'
    return f'median {spread["median"]:.3g} {unit}, 90 % within {spread["p90"]:.3g} {unit}'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _offline(
    drive: Drive, localizer: Localizer, tolerance: Tolerance, max_pose_gap_s: float
) -> Evaluation:
    frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
    answers, unusable = [], 0
    for answer in answers_offline(frames, localizer):
        if isinstance(answer, ImageError):
            unusable += 1
        else:
            answers.append(answer)
    return evaluate(
        answers,
        drive,
        localizer.place_map,
        tolerance,
        unusable=unusable,
        max_pose_gap_s=max_pose_gap_s,
    )


def _live(
    arguments: argparse.Namespace,
    drive: Drive,
    place_map: PlaceMap,
    tolerance: Tolerance,
    parameters: dict[str, Value],
) -> Evaluation:
    from vpr_ros.live import run_live  # needs ROS, which the offline way does not

    found = run_live(Path(arguments.bag), arguments.image_topic, parameters, rate=arguments.rate)
    return evaluate(
        found.answers,
        drive,
        place_map,
        tolerance,
        dropped=found.dropped,
        node_latency_ms=found.node_latency_ms,
        max_pose_gap_s=arguments.max_pose_gap,
    )


def _settings(assignments: Sequence[str]) -> dict[str, Value]:
    """Checked settings from `name=value`; raises ConfigError."""
    known = {entry.name for entry in fields(LocalizerConfig)}
    settings: dict[str, Value] = {}
    for assignment in assignments:
        name, _, text = assignment.partition('=')
        if name not in known:
            raise ConfigError(
                f'--set {assignment}: expected NAME=VALUE with one of {", ".join(sorted(known))}'
            )
        settings[name] = yaml.safe_load(text)
    checked: NodeConfig = node_config(settings)
    return {name: getattr(checked, name) for name in settings}


def _write_fixes(path: Path, evaluation: Evaluation) -> None:
    fixes = {
        answer.stamp_ns: answer.pose for answer in evaluation.answers if answer.pose is not None
    }
    stamps_ns = np.array(sorted(fixes), dtype=np.int64)
    write_tum(path, Trajectory(stamps_ns, np.array([fixes[stamp] for stamp in stamps_ns])))
    print(f'{len(fixes)} poses in {path}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='evaluate_bag', description=__doc__)
    parser.add_argument('--map', required=True, type=Path, metavar='MAP', help='made by build_map')
    parser.add_argument('--bag', required=True, metavar='BAG', help='a bag, or a posed folder')
    parser.add_argument(
        '--model', type=Path, metavar='MODEL', help='default: the shipped one that made the map'
    )
    parser.add_argument(
        '--radius',
        type=float,
        default=5.0,
        metavar='M',
        help='a place this near is right (default: 5 m)',
    )
    parser.add_argument(
        '--heading',
        type=float,
        metavar='DEG',
        help='and looks the same way within this (default: any)',
    )
    parser.add_argument(
        '--live', action='store_true', help='through the node in its own process (needs ROS 2)'
    )
    parser.add_argument(
        '--rate', type=float, default=1.0, metavar='R', help='speed with --live (default: 1)'
    )
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='settings of the localizer, as in the node',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')
    parser.add_argument(
        '--tum', type=Path, metavar='FILE', help='write the fixes here, in TUM form, for evo'
    )
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='default: every core')
    add_drive_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    settings = _settings(arguments.set)
    heading_rad = None if arguments.heading is None else math.radians(arguments.heading)
    tolerance = Tolerance(arguments.radius, heading_rad)
    header = read_header(arguments.map)
    model = Model.open(arguments.model or model_that_made(header))
    place_map = PlaceMap.open(arguments.map, model=model)
    drive = open_drive(Path(arguments.bag), drive_options(arguments, datum=header.datum))
    if arguments.live:
        parameters = settings | {
            'map': str(arguments.map.absolute()),
            'model': str(model.folder.absolute()),
            'threads': arguments.threads,
        }
        evaluation = _live(arguments, drive, place_map, tolerance, parameters)
    else:
        describer = OnnxDescriber(model, threads=arguments.threads)
        localizer = Localizer(describer, place_map, node_config(settings), camera=drive.camera)
        evaluation = _offline(drive, localizer, tolerance, arguments.max_pose_gap)
    for warning in drive.warnings:
        print(f'note: {warning}', file=sys.stderr)
    print(as_table(evaluation, tolerance))
    if arguments.tum:
        _write_fixes(arguments.tum, evaluation)
    if arguments.json:
        found = as_json(evaluation) | {
            'bag': arguments.bag,
            'map': str(arguments.map),
            'map_id': place_map.id,
            'model': model.card.name,
            'model_sha256': model.card.sha256,
            'radius_m': arguments.radius,
            'heading_deg': arguments.heading,
            'live': arguments.live,
            'settings': settings,
        }
        replace_file(arguments.json.absolute(), (json.dumps(found, indent=2) + '\n').encode())
        print(f'figures in {arguments.json}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
