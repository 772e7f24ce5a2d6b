"""Look at a data set before training on it.

  python -m vpr_training.data inspect DIR [--deep] [--picture FILE.png]

It lists the places, the images per place, the extent, and what was left out and why, and draws a
picture. DIR is a training set (GSV-Cities, GSV-XS, places.csv, a bag, a posed folder, a folder of
drives) or an evaluation set (database/ and queries/).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.cli.command import Parser, command
from vpr_ros.cli.option_values import output_file
from vpr_ros.core.plurals import by_count, counted
from vpr_training.data.config import DataConfig
from vpr_training.data.inspection import broken, described, described_recall_set
from vpr_training.data.layouts import open_places, open_recall_set, trains
from vpr_training.data.pictures import draw_places, draw_recall_set

_BROKEN_SHOWN = 20


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    defaults = DataConfig()
    parser = Parser(
        prog='python -m vpr_training.data',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('inspect', choices=('inspect',), help='what to do')
    parser.add_argument('folder', type=Path, metavar='DIR', help='the data set')
    parser.add_argument(
        '--deep', action='store_true', help='decode every image to find broken ones'
    )
    parser.add_argument(
        '--picture',
        type=output_file,
        metavar='FILE',
        help='write the picture to this file (default: inspect-NAME.png in this folder)',
    )
    parser.add_argument(
        '--min-images',
        type=int,
        default=defaults.min_images_per_place,
        metavar='N',
        help='leave out places with fewer images (default: %(default)s)',
    )
    for name, unit in (('place_radius', 'M'), ('place_gap', 'M'), ('place_heading', 'DEG')):
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=float,
            default=getattr(defaults, name),
            metavar=unit,
            help=f'for own drives: the training setting data.{name} (default: %(default)g)',
        )
    for name in ('image_topic', 'pose_topic', 'tf_topic'):
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            default='',
            metavar='T',
            help=f'for own drives in bags: the training setting data.{name}',
        )
    parser.add_argument(
        '--pose-file',
        action='append',
        default=[],
        metavar='FILE',
        help='for own drives in bags: the training setting data.pose_files',
    )
    parser.add_argument(
        '--tf-frames',
        nargs=2,
        default=(),
        metavar=('MAP', 'BASE'),
        help='for own drives in bags: the training setting data.tf_frames',
    )
    parser.add_argument(
        '--max-pose-gap',
        type=float,
        default=defaults.max_pose_gap,
        metavar='S',
        help='for own drives in bags: the training setting data.max_pose_gap',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. Ends with 1 if --deep found broken images."""
    arguments = make_parser().parse_args(argv)
    folder: Path = arguments.folder
    picture = arguments.picture or output_file(f'inspect-{folder.resolve().name}.png')
    if trains(folder):
        config = DataConfig(
            root=str(folder),
            images_per_place=min(2, arguments.min_images),
            min_images_per_place=arguments.min_images,
            place_radius=arguments.place_radius,
            place_gap=arguments.place_gap,
            place_heading=arguments.place_heading,
            image_topic=arguments.image_topic,
            pose_topic=arguments.pose_topic,
            pose_files=tuple(arguments.pose_file),
            tf_topic=arguments.tf_topic,
            tf_frames=' '.join(arguments.tf_frames),
            max_pose_gap=arguments.max_pose_gap,
        )
        config.check()
        places = open_places(config)
        files = [places.path(row) for row in range(len(places.files))]
        print(described(places))
        draw_places(places, picture)
    else:
        images = open_recall_set(folder)
        files = list(dict.fromkeys([*images.database, *images.queries]))
        print(described_recall_set(images))
        draw_recall_set(images, picture)
    print(f'  drawn in {picture}')
    if not arguments.deep:
        return 0
    found = broken(files)
    for said in found[:_BROKEN_SHOWN]:
        print(f'  broken: {said}')
    verb = by_count(len(found), 'is', 'are')
    print(f'  {len(found)} of {counted(len(files), "image")} {verb} broken')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
