"""Measure how well a map answers bags whose true poses are known.

Offline, the images go straight through the core, as fast as the model runs; with --live they go
through the running node in its own process, at the bag's own speed, which adds dropped frames and
the latency from publishing an image to receiving its pose. Instead of a map, a bag to map may be
given. Several maps, models or settings are compared on the same bags.
"""

import argparse
import json
import math
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from vpr_ros.build_map import build_map, chosen_features
from vpr_ros.cli.command import add_precision_argument, command
from vpr_ros.cli.options import add_drive_arguments, drive_options
from vpr_ros.core.atomic import replace_file
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model, model_that_made
from vpr_ros.core.errors import ConfigError, DriveError, ImageError
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.settings import Value, checked
from vpr_ros.core.trajectory import Trajectory, write_tum
from vpr_ros.drives import open_drive
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.folder import POSES_NAME, image_files
from vpr_ros.drives.reader import is_bag
from vpr_ros.evaluating.drive_page import Variant, drive_report
from vpr_ros.evaluating.figures import (
    Evaluation,
    Tolerance,
    answers_offline,
    by_time,
    evaluate,
    pooled,
)
from vpr_ros.report.page import write_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way of localizing that is to be measured."""

    name: str
    place_map: PlaceMap
    model: Model
    settings: dict[str, Value]


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The contract of --json; figures that do not exist (an error without any fix) are null."""
    recall, curve = evaluation.recall, evaluation.precision_recall
    alone, trust = evaluation.single_image, evaluation.reliability
    found = {
        'recall': {str(n): share for n, share in recall.at.items()},
        'single_image': alone and {str(n): share for n, share in alone.at.items()},
        'recall_interval': {str(n): list(interval) for n, interval in recall.interval.items()},
        'queries': recall.queries,
        'unmatchable': recall.unmatchable,
        'database': evaluation.database,
        'frames': evaluation.frames,
        'without_pose': evaluation.without_pose,
        'unusable': evaluation.unusable,
        'dropped': evaluation.dropped,
        'calibration': trust
        and {
            'error': trust.error,
            'promised': trust.promised.tolist(),
            'true': trust.true.tolist(),
            'count': trust.count.tolist(),
        },
        'answered': evaluation.answered,
        'answered_interval': list(evaluation.answered_interval),
        'false_fixes': evaluation.false_fixes,
        'false_fixes_interval': list(evaluation.false_fixes_interval),
        'average_precision': curve.average_precision if curve else None,
        'recall_at_full_precision': curve.recall_at_full_precision if curve else None,
        'time_to_first_fix_s': evaluation.time_to_first_fix_s,
        'position_error_m': evaluation.position_error_m,
        'heading_error_deg': evaluation.heading_error_deg,
        'inside_ellipse': evaluation.inside_ellipse,
        'latency_ms': evaluation.latency_ms,
    }
    return {name: _finite(value) for name, value in found.items()}


def as_table(evaluation: Evaluation, tolerance: Tolerance) -> str:
    """The figures for a person."""
    recall, curve = evaluation.recall, evaluation.precision_recall
    rows = [
        (f'Recall@{n}', f'{recall.at[n]:.3f}   [{low:.3f}, {high:.3f}]')
        for n, (low, high) in recall.interval.items()
        if not math.isnan(recall.at[n])
    ]
    if evaluation.single_image is not None:
        single = evaluation.single_image.at[1]
        rows.append(('Recall@1, one image', f'{single:.3f}   without the drive so far'))
    heading = (
        '' if tolerance.heading_rad is None else f', {np.degrees(tolerance.heading_rad):.0f} deg'
    )
    rows += [
        ('right within', f'{tolerance.radius_m:g} m{heading}'),
        ('queries / places', f'{recall.queries} / {evaluation.database}'),
        ('not on the map', f'{recall.unmatchable} queries, counted as misses above'),
        ('answered', f'{evaluation.answered:.1%} of the queries got a fix'),
        (
            'false fixes',
            'not known'
            if math.isnan(evaluation.false_fixes)
            else f'{evaluation.false_fixes:.1%} of the fixes',
        ),
        (
            'calibration error',
            'not known'
            if evaluation.reliability is None
            else f'{evaluation.reliability.error:.3f}',
        ),
        ('position error', _spread(evaluation.position_error_m, 'm')),
        ('heading error', _spread(evaluation.heading_error_deg, 'deg')),
    ]
    if not math.isnan(evaluation.inside_ellipse):
        rows.append(('inside the ellipse', f'{evaluation.inside_ellipse:.1%}, expected 95 %'))
    if not math.isnan(evaluation.time_to_first_fix_s):
        rows.append(('time to first fix', f'{evaluation.time_to_first_fix_s:.1f} s'))
    if curve:
        rows += [
            ('average precision', f'{curve.average_precision:.3f} of the first matches'),
            ('recall, 100 % precise', f'{curve.recall_at_full_precision:.3f}'),
        ]
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
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _offline(
    setup: Setup, drives: Sequence[Drive], tolerance: Tolerance, arguments: argparse.Namespace
) -> tuple[list[Evaluation], float, float]:
    """Each drive's figures, images per second, and the peak of memory in MB."""
    describer = OnnxDescriber(setup.model, threads=arguments.threads, singly=False)
    localizer = Localizer(describer, setup.place_map, checked(LocalizerConfig, setup.settings))
    evaluations, images, taken_s = [], 0, 0.0
    for drive in drives:
        localizer.rig.cameras = [MountedCamera(calibration=drive.camera)]
        frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
        answers, unusable = [], 0
        started = time.perf_counter()
        for answer in answers_offline(frames, localizer):
            if isinstance(answer, ImageError):
                unusable += 1
            else:
                answers.append(answer)
        taken_s += time.perf_counter() - started
        images += len(answers)
        evaluations.append(
            evaluate(
                answers,
                drive,
                setup.place_map,
                tolerance,
                unusable=unusable,
                max_pose_gap_s=arguments.max_pose_gap,
            )
        )
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return evaluations, images / max(taken_s, 1e-9), memory_mb


def _live(
    setup: Setup,
    drives: Sequence[Drive],
    tolerance: Tolerance,
    arguments: argparse.Namespace,
) -> tuple[list[Evaluation], float, float]:
    """The same through the node; the speed is the bag's, so that it is not told."""
    from vpr_ros.evaluating.live import run_live  # needs ROS, which the offline way does not

    parameters = setup.settings | {
        'map': str(setup.place_map.folder.absolute()),
        'model': str(setup.model.folder.absolute()),
        'threads': arguments.threads,
        'precision': arguments.precision,
    }
    evaluations = []
    for drive in drives:
        found = run_live(Path(drive.name), arguments.image_topic, parameters, rate=arguments.rate)
        evaluations.append(
            evaluate(
                found.answers,
                drive,
                setup.place_map,
                tolerance,
                dropped=found.dropped,
                node_latency_ms=found.node_latency_ms,
                max_pose_gap_s=arguments.max_pose_gap,
            )
        )
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return evaluations, math.nan, memory_mb


def _measured(
    setup: Setup, drives: Sequence[Drive], tolerance: Tolerance, arguments: argparse.Namespace
) -> Variant:
    measure = _live if arguments.live else _offline
    evaluations, images_per_s, memory_mb = measure(setup, drives, tolerance, arguments)
    together = pooled(evaluations)
    splits = {}
    if drives[1:]:
        splits = {drive.name: found for drive, found in zip(drives, evaluations, strict=True)}
    if arguments.split_every is not None:
        splits |= by_time(together, arguments.split_every)
    header, card = setup.place_map.header, setup.model.card
    return Variant(
        name=setup.name,
        evaluation=together,
        splits=splits,
        place_map=setup.place_map,
        base_T_camera=None,
        facts=[
            ('map', f'{header.source}, {header.places} places, id {setup.place_map.id}'),
            ('model', f'{card.name}, sha256 {card.sha256}, {setup.model.precision}'),
            ('settings', _said(setup.settings) or 'defaults'),
            ('way', 'through the running node' if arguments.live else 'offline'),
        ],
        images_per_s=images_per_s,
        memory_mb=memory_mb,
    )


def _said(settings: Mapping[str, Value]) -> str:
    return ', '.join(f'{name}={value}' for name, value in settings.items())


def _setups(arguments: argparse.Namespace, scratch: ExitStack) -> list[Setup]:
    """Every map with every settings; maps of --map-bag live as long as `scratch`."""
    maps = _maps(arguments, scratch)
    base = _settings(arguments.set)
    choices = [base, *(base | _settings(words) for words in arguments.compare)]
    setups = []
    for place_map, model in maps:
        source = model.card.name if arguments.map_bag else place_map.folder.name
        for settings in choices:
            words = [source] if maps[1:] or not arguments.compare else []
            words += [_said(settings) or 'defaults'] if arguments.compare else []
            setups.append(
                Setup(name=' '.join(words), place_map=place_map, model=model, settings=settings)
            )
    names = [setup.name for setup in setups]
    return [
        replace(setup, name=f'{setup.name} ({row})') if names.count(setup.name) > 1 else setup
        for row, setup in enumerate(setups, start=1)
    ]


def _maps(arguments: argparse.Namespace, scratch: ExitStack) -> list[tuple[PlaceMap, Model]]:
    """The maps that are given, or made, and what describes images for each."""
    if arguments.map_bag:
        models = arguments.model or [default_model()]
        return [_made_map(arguments, model, scratch) for model in models]
    headers = [read_header(folder) for folder in arguments.map]
    if any(header.datum != headers[0].datum for header in headers):
        raise ConfigError('--map: these maps have different datums, so that no drive fits both')
    models = arguments.model or [model_that_made(header) for header in headers]
    if len(models) == 1:
        models = models * len(headers)
    if len(models) != len(headers):
        raise ConfigError(
            f'--model: {len(models)} for {len(headers)} maps, expected none, one, or one for each'
        )
    opened = [Model.open(folder, precision=arguments.precision) for folder in models]
    return [
        (PlaceMap.open(folder, model=model), model)
        for folder, model in zip(arguments.map, opened, strict=True)
    ]


def _made_map(
    arguments: argparse.Namespace, model_folder: Path, scratch: ExitStack
) -> tuple[PlaceMap, Model]:
    model = Model.open(model_folder, precision=arguments.precision)
    folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='evaluate_bag-')))
    drive = open_drive(arguments.map_bag, drive_options(arguments))
    report = build_map(
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        folder / 'map',
        max_pose_gap_s=arguments.max_pose_gap,
        command='evaluate_bag --map-bag',
        features=chosen_features(arguments.landmarks),
    )
    print(f'{arguments.map_bag}: {"; ".join(report.lines())}')
    return PlaceMap.open(folder / 'map', model=model), model


def bags_in(paths: Sequence[Path]) -> list[Path]:
    """The bags and posed folders that are given, or that lie in a folder that is given."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or _is_drive(path):
            found.append(path)
            continue
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir() and _is_drive(entry))
        # Without bags in it, it may still be a folder of photos: opening it says what is missing.
        found += inside or [path]
    return found


def _is_drive(folder: Path) -> bool:
    return is_bag(folder) or (folder / POSES_NAME).is_file() or bool(image_files(folder))


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
    legal = checked(LocalizerConfig, settings)
    return {name: getattr(legal, name) for name in settings}


def _write_fixes(path: Path, evaluation: Evaluation) -> None:
    fixes = {
        answer.stamp_ns: answer.pose for answer in evaluation.answers if answer.pose is not None
    }
    stamps_ns = np.array(sorted(fixes), dtype=np.int64)
    write_tum(path, Trajectory(stamps_ns, np.array([fixes[stamp] for stamp in stamps_ns])))
    print(f'{len(fixes)} poses in {path}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='evaluate_bag', description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--map',
        action='append',
        type=Path,
        metavar='MAP',
        help='made by build_map; several times to compare',
    )
    source.add_argument(
        '--map-bag',
        type=Path,
        metavar='BAG',
        help='make the map of this bag first, and keep it only for this run',
    )
    parser.add_argument(
        '--bag',
        required=True,
        nargs='+',
        type=Path,
        metavar='BAG',
        help='bags or posed folders, or a folder of those in folders of their own',
    )
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        type=Path,
        metavar='MODEL',
        help='default: the shipped one that made the map; with --map-bag several times to compare',
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
    parser.add_argument(
        '--compare',
        nargs='+',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='measure with these settings too, beside those of --set; may be repeated',
    )
    parser.add_argument(
        '--split-every',
        type=float,
        metavar='S',
        help='figures of each stretch of so many seconds too',
    )
    parser.add_argument('--report', type=Path, metavar='FILE.html', help='write a page here')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')
    parser.add_argument(
        '--tum', type=Path, metavar='FILE', help='write the fixes here, in TUM form, for evo'
    )
    parser.add_argument(
        '--landmarks',
        nargs='?',
        const='',
        metavar='FEATURES',
        help='with --map-bag: map its landmarks too, by sift (default), xfeat or '
        'xfeat-lighterglue',
    )
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='default: every core')
    add_precision_argument(parser)
    add_drive_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    _check(arguments)
    heading_rad = None if arguments.heading is None else math.radians(arguments.heading)
    tolerance = Tolerance(arguments.radius, heading_rad)
    bags = bags_in(arguments.bag)
    if arguments.tum and (bags[1:] or len(arguments.map or []) > 1 or arguments.compare):
        raise ConfigError('--tum: writes the fixes of one bag on one map, several were given')
    with ExitStack() as scratch:
        setups = _setups(arguments, scratch)
        datum = setups[0].place_map.header.datum
        drives = [open_drive(bag, drive_options(arguments, datum=datum)) for bag in bags]
        variants = [_measured(setup, drives, tolerance, arguments) for setup in setups]
        _say(variants, drives, tolerance)
        if arguments.tum:
            _write_fixes(arguments.tum, variants[0].evaluation)
        if arguments.json:
            _write_json(arguments, setups, variants)
        if arguments.report:
            words = sys.argv[1:] if argv is None else argv
            repeat = shlex.join(['evaluate_bag', *words])
            write_page(arguments.report, drive_report(variants, drives, tolerance, command=repeat))
            print(f'report in {arguments.report}')
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for a number that cannot be."""
    for name, value in (
        ('radius', arguments.radius),
        ('heading', arguments.heading),
        ('split-every', arguments.split_every),
        ('rate', arguments.rate),
    ):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f'--{name} {value:g}: expected a number above 0')
    if arguments.landmarks is not None and not arguments.map_bag:
        raise ConfigError(
            '--landmarks: a map is asked for as it is; make it with build_map --landmarks'
        )


def _say(variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance) -> None:
    for drive in drives:
        for warning in drive.warnings:
            print(f'note: {warning}', file=sys.stderr)
        if drive.trajectory is None:
            print(f'note: {drive.name}: no true poses in it; what needs them is not known')
    for variant in variants:
        if variants[1:]:
            print(f'== {variant.name}')
        print(as_table(variant.evaluation, tolerance))
        if not math.isnan(variant.images_per_s):
            print(f'{"speed":<22}{variant.images_per_s:.1f} images/s')
        print(f'{"peak memory":<22}{variant.memory_mb:.0f} MB')
        for name, part in variant.splits.items():
            recall = part.recall.at[1]
            said = '' if math.isnan(recall) else f'Recall@1 {recall:.3f}, '
            print(f'  {name}: {said}answered {part.answered:.1%} of {len(part.answers)}')


def _write_json(
    arguments: argparse.Namespace, setups: Sequence[Setup], variants: Sequence[Variant]
) -> None:
    bags = [str(bag) for bag in arguments.bag]
    found = [
        as_json(variant.evaluation)
        | {
            'name': variant.name,
            'splits': {name: as_json(part) for name, part in variant.splits.items()},
            'images_per_s': _finite(variant.images_per_s),
            'peak_memory_mb': variant.memory_mb,
            'bag': bags if bags[1:] else bags[0],
            'map': str(arguments.map_bag or setup.place_map.folder),
            'map_id': setup.place_map.id,
            'model': setup.model.card.name,
            'model_sha256': setup.model.card.sha256,
            'precision': setup.model.precision,
            'radius_m': arguments.radius,
            'heading_deg': arguments.heading,
            'live': arguments.live,
            'settings': setup.settings,
        }
        for setup, variant in zip(setups, variants, strict=True)
    ]
    whole = found[0] | ({'variants': found} if found[1:] else {})
    content = (json.dumps(whole, indent=2) + '\n').encode()
    try:
        replace_file(arguments.json.absolute(), content)
    except OSError as error:
        raise DriveError(
            f'{arguments.json}: cannot be written ({error.strerror or error})'
        ) from error
    print(f'figures in {arguments.json}')


if __name__ == '__main__':
    sys.exit(main())
