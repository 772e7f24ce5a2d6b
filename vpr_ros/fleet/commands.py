"""The verbs `map push`, `map pull` and `map fleet`: their options, and what they print."""

import argparse
import json
import math
import socket
import sys
from pathlib import Path

from vpr_ros.cli.command import Parser, say_notes
from vpr_ros.cli.option_values import count, not_negative
from vpr_ros.core.describing.model import Model
from vpr_ros.core.plurals import counted
from vpr_ros.fleet.listing import listing
from vpr_ros.fleet.pull import DISTRACTORS_M, Circle, pull
from vpr_ros.fleet.push import push
from vpr_ros.fleet.store import Fleet


def add_verbs(verbs: 'argparse._SubParsersAction[Parser]') -> None:
    """Add the three verbs to those of `map`."""
    sentence = (
        "Send the parts of a map to a fleet's store. Parts that the store has are not sent again."
    )
    one = verbs.add_parser('push', help=sentence, description=sentence)
    one.set_defaults(run=_push)
    one.add_argument('map', type=Path, metavar='MAP', help='map folder')
    _add_fleet(one)
    one.add_argument('--robot', metavar='NAME', help='who pushes (default: the host name)')
    one.add_argument(
        '--condition',
        default='',
        metavar='NAME',
        help='condition of the drive, such as day, dusk or rain',
    )
    one.add_argument('--note', default='', metavar='TEXT', help='one line of text for people')
    one.add_argument(
        '--new',
        action='store_true',
        help='make a new store in object storage; give it once, from one computer',
    )

    sentence = "Cut an ordinary map out of a fleet's store."
    one = verbs.add_parser('pull', help=sentence, description=sentence)
    one.set_defaults(run=_pull)
    _add_fleet(one)
    one.add_argument(
        '--near',
        type=circle,
        metavar='X,Y,R',
        help="only places within R metres of X, Y in the map's frame; write --near=X,Y,R if X "
        'is below 0 (default: all)',
    )
    one.add_argument(
        '--distractors',
        type=not_negative,
        default=DISTRACTORS_M,
        metavar='METRES',
        help='with --near, also take the places up to this far outside that look like those '
        'within; they give no fix, and keep the node silent outside; 0: none '
        '(default: %(default)g)',
    )
    one.add_argument(
        '--version', type=count, metavar='V', help='version to pull (default: the newest)'
    )
    one.add_argument('--condition', metavar='NAME', help='only drives of this condition')
    one.add_argument(
        '--model',
        metavar='MODEL',
        help='a model folder, or the name or digest of a model (default: the only one in the '
        'fleet)',
    )
    one.add_argument(
        '--output',
        type=Path,
        required=True,
        metavar='MAP',
        help='map folder to write, in place of a map that is there',
    )

    sentence = "List a fleet's versions, drives, extents, models and conditions, or roll back."
    one = verbs.add_parser('fleet', help=sentence, description=sentence)
    one.set_defaults(run=_fleet)
    one.add_argument('fleet', metavar='FLEET', help='a folder, or s3://..., gs://..., az://...')
    one.add_argument('--json', action='store_true', help='print JSON')
    one.add_argument(
        '--versions',
        type=count,
        default=20,
        metavar='N',
        help='list the latest N (default: %(default)s)',
    )
    one.add_argument(
        '--rollback',
        type=count,
        metavar='V',
        help='make a new version that equals version V; nothing is deleted',
    )


def circle(text: str) -> Circle:
    """The type of an option that is a point and a radius in metres."""
    try:
        x_m, y_m, radius_m = (float(word) for word in text.split(','))
    except ValueError:
        x_m = y_m = radius_m = math.nan
    if not all(map(math.isfinite, (x_m, y_m, radius_m))) or radius_m <= 0:
        raise argparse.ArgumentTypeError(f'{text}: expected X,Y,R in metres, R above 0')
    return Circle(x_m, y_m, radius_m)


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--fleet',
        required=True,
        metavar='URI',
        help='the store: a folder, or s3://bucket/path, gs://..., az://...; credentials come '
        'from environment variables',
    )


def _push(arguments: argparse.Namespace) -> int:
    pushed = push(
        arguments.map,
        arguments.fleet,
        robot=socket.gethostname() if arguments.robot is None else arguments.robot,
        condition=arguments.condition,
        note=arguments.note,
        is_new=arguments.new,
    )
    say_notes(pushed.notes)
    resumed = f', {pushed.resumed} of them sent before' if pushed.resumed else ''
    if pushed.is_new:
        print(
            f'{arguments.fleet}: version {pushed.version}, '
            f'{counted(pushed.added_places, "place")} in {counted(pushed.added_parts, "part")} '
            f'added{resumed}'
        )
    else:
        print(
            f'{arguments.fleet}: version {pushed.version} has all of the map already '
            f'({counted(pushed.parts, "part")}), nothing added'
        )
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    is_folder = arguments.model is not None and Path(arguments.model).is_dir()
    pulled = pull(
        arguments.fleet,
        arguments.output,
        near=arguments.near,
        distractors_m=arguments.distractors,
        version=arguments.version,
        condition=arguments.condition,
        model=None if is_folder else arguments.model,
        opened_model=Model.open(arguments.model) if is_folder else None,
    )
    say_notes(pulled.notes)
    around = f' and {counted(pulled.distractors, "distractor")}' * bool(pulled.distractors)
    print(
        f'{arguments.output}: {counted(pulled.places, "place")} in '
        f'{counted(pulled.parts, "part")}{around}, map {pulled.map_id}, '
        f'of version {pulled.version} (content {pulled.content})'
    )
    return 0


def _fleet(arguments: argparse.Namespace) -> int:
    if arguments.rollback is not None:
        made = Fleet.open(arguments.fleet).roll_back(arguments.rollback)
        line = f'{arguments.fleet}: version {made} equals version {arguments.rollback}'
        print(line, file=sys.stderr if arguments.json else sys.stdout)
        if not arguments.json:
            return 0
    found = listing(arguments.fleet, most_versions=arguments.versions)
    if arguments.json:
        print(json.dumps(found.as_mapping(), indent=2))
    else:
        print('\n'.join(found.lines()))
    return 0
