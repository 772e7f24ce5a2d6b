"""Every parameter of the node: the session's settings, and those of topics, frames and output."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vpr_ros.cli.command import Parser, command
from vpr_ros.core.describing.backend import BACKENDS
from vpr_ros.core.describing.choosing import threads_within
from vpr_ros.core.describing.precision import MOST_THREADS, WANTED
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.plurals import counted
from vpr_ros.core.settings import default_of, knob
from vpr_ros.core.types import Poses
from vpr_ros.session.config import SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(SessionConfig):
    """All parameters of the node `localize`."""

    @property
    def image_topics(self) -> list[str]:
        """The topic of each camera; raises ConfigError for an empty one."""
        topics = [topic.strip() for topic in self.image_topic.split(',')]
        if not all(topics) or len(set(topics)) < len(topics):
            raise ConfigError(
                f'image_topic: {self.image_topic!r}, expected different topics between the commas'
            )
        return topics

    @property
    def most_threads(self) -> int:
        """The most threads of one inference, at least 1."""
        return self.threads or threads_within(self.core_share)

    def mountings(self) -> list[Poses | None]:
        """base_T_camera [7] of each camera as far as it is given; raises ConfigError."""
        cameras = len(self.image_topics)
        given = np.array(self.base_T_camera, dtype=np.float64).reshape(-1, 7)
        if len(given) not in (0, cameras):
            raise ConfigError(
                f'base_T_camera: {counted(len(given), "mounting")} for the {cameras} of '
                'image_topic, expected one for each camera'
            )
        if not len(given):
            return [None] * cameras
        return [checked_pose(pose, source='base_T_camera') for pose in given]

    map: str = knob(
        '',
        'Map folder, made by build_map. Set it while the node is active to change to another '
        'map, as ~/load_map does.',
    )
    model: str = knob(
        '', 'Model folder. Empty means the shipped model that made the map.', at_configure=True
    )
    precision: str = knob(
        'auto',
        "Number format of the network. auto takes the fastest one that the model's card allows on "
        'this processor.',
        choices=WANTED,
        at_configure=True,
    )
    backend: str = knob(
        'auto',
        'Library that runs the network. auto tries TensorRT, TensorRT-RTX, onnxruntime on a GPU, '
        'then the faster of onnxruntime and OpenVINO on the CPU. A library that cannot run is '
        'replaced by the next, and diagnostics say why.',
        choices=BACKENDS,
        at_configure=True,
    )
    engine_cache: str = knob(
        '',
        'Folder for the built engines of TensorRT and TensorRT-RTX. Empty means vpr_ros/engines '
        "in the user's cache.",
        at_configure=True,
    )
    threads: int = knob(
        0,
        'Number of threads of one inference. 0 means the fewest that are about as fast as the '
        'fastest within core_share, measured once on this machine.',
        low=0,
        high=MOST_THREADS,
        at_configure=True,
    )
    core_share: float = knob(
        1.0,
        'Share of the cores that the network may use, at least one core. Used only if threads is '
        '0.',
        low=0.0,
        high=1.0,
        at_configure=True,
    )

    image_topic: str = knob(
        'image',
        'Camera topic, without the suffix of the transport. Separate several cameras by commas.',
        at_configure=True,
    )
    image_transport: str = knob(
        'raw',
        'raw takes sensor_msgs/Image on <image_topic>. compressed takes '
        'sensor_msgs/CompressedImage on <image_topic>/compressed.',
        choices=('raw', 'compressed'),
        at_configure=True,
    )
    image_qos: str = knob(
        'sensor_data',
        'Quality of service of the image subscription: sensor_data is best effort, default is '
        'reliable.',
        choices=('sensor_data', 'default', 'system_default'),
        at_configure=True,
    )
    max_image_size: float = knob(
        100.0,
        'Largest image that is decoded. The node refuses a larger one before it takes memory for '
        'it.',
        unit='Mpx',
        low=0.01,
        high=1000.0,
        at_configure=True,
    )
    map_frame: str = knob(
        '', 'Frame of the published poses. Empty means the frame of the map.', at_configure=True
    )
    odom_frame: str = knob('odom', 'Child frame of the published transform.', at_configure=True)
    base_frame: str = knob(
        'base_link',
        'Base frame of the robot. The published pose is the pose of this frame.',
        at_configure=True,
    )
    base_T_camera: list[float] = knob(
        (),
        'Pose of the optical frame in base_frame as x y z qx qy qz qw, one after another for '
        'several cameras. Empty means from tf, or else the mounting of the mapping camera.',
        at_configure=True,
    )
    tf_rate: float = knob(
        20.0,
        'Rate at which map_frame -> odom_frame is broadcast.',
        unit='Hz',
        low=1.0,
        high=200.0,
        at_configure=True,
    )
    transform_tolerance: float = knob(
        0.3,
        'Time by which the stamp of the transform lies in the future.',
        unit='s',
        low=0.0,
        high=10.0,
    )
    published_matches: int = knob(5, 'Number of matches in each PlaceMatchArray.', low=1, high=100)
    debug_image_height: int = knob(240, 'Height of ~/debug_image.', unit='px', low=64, high=2160)
    rerun: str = knob(
        '',
        'File NAME.rrd for a log of the drive, for the Rerun viewer. Empty means no log. An '
        'earlier file becomes NAME.before.rrd. Needs the package rerun-sdk.',
        at_configure=True,
    )
    rerun_max_size: float = knob(
        2000.0,
        'Largest size of that log and the earlier one together. At half of it, a new file begins.',
        unit='MB',
        low=10.0,
        high=1e6,
        at_configure=True,
    )
    diagnostics_period: float = knob(
        1.0, 'Time between diagnostic messages.', unit='s', low=0.1, high=60.0, at_configure=True
    )
    autostart: bool = knob(
        True,
        'Configure and activate the node at start. Set it to false if a lifecycle manager does '
        'so.',
        at_configure=True,
    )


def parameter_file() -> str:
    """The text of config/localize.yaml: every parameter with its default, range and meaning."""
    lines = [
        '# Parameters of the node `localize`, with their defaults. '
        'Made by `python -m vpr_ros.node.config`; take a copy,',
        '# change it, and pass it as params_file:=FILE.',
        '/**:',
        '  ros__parameters:',
    ]
    for declared in fields(NodeConfig):
        default, facts = default_of(declared), declared.metadata
        legal = f'{facts["low"]:g} to {facts["high"]:g}' if facts['low'] is not None else ''
        legal = ' | '.join(facts['choices']) or legal
        remarks = ' '.join(filter(None, [facts['unit'], legal]))
        when = ' Takes effect at configure.' if facts['at_configure'] else ''
        lines.append(f'    # {facts["sentence"]}{f" [{remarks}]" if remarks else ""}{when}')
        if default == []:
            lines.append(f'    # {declared.name}: [0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5]')
        else:
            lines.append(f'    {declared.name}: {json.dumps(default)}')
    return '\n'.join(lines) + '\n'


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print config/localize.yaml."""
    description = 'Print config/localize.yaml: every parameter of the node, with its default.'
    Parser(prog='python -m vpr_ros.node.config', description=description).parse_args(argv)
    print(parameter_file(), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main())
