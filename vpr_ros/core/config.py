"""Every knob of the localizer and its node, in one place.

A knob has its default, unit, legal range and one sentence. ROS parameters, config/localize.yaml
and the documentation are made from these fields; nothing repeats them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.precision import WANTED
from vpr_ros.core.types import Poses

BACKENDS = ('auto', 'tensorrt', 'onnxruntime', 'openvino', 'cpu')

Value: TypeAlias = bool | int | float | str | list[float]


def knob(
    default: Any,
    sentence: str,
    *,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    at_configure: bool = False,
) -> Any:
    """Declare a field of a settings dataclass with all that is known about it.

    at_configure: the value is taken when the node is configured and cannot change until it is
    cleaned up.
    """
    described = {
        'sentence': sentence,
        'unit': unit,
        'low': low,
        'high': high,
        'choices': choices,
        'at_configure': at_configure,
    }
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata=described)
    return field(default=default, metadata=described)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerConfig:
    """How an image becomes a pose."""

    candidates: int = knob(20, 'Places retrieved for each image.', low=1, high=1000)
    belief: bool = knob(
        True,
        'Believe the drive so far; if false, each image stands alone, and the similarity and '
        'agreement settings decide.',
    )
    max_false_fix_rate: float = knob(
        0.01,
        'There is a fix only where the probability of its being wrong is at most this; '
        'needs belief.',
        low=0.0001,
        high=0.5,
    )
    max_speed: float = knob(
        0.0,
        'Bound on the speed where there is no odometry; 0 takes twice the mapping speed.',
        unit='m/s',
        low=0.0,
        high=100.0,
        at_configure=True,
    )
    min_similarity: float = knob(
        0.5,
        'Without belief: below this cosine similarity of the best place there is no fix.',
        low=-1.0,
        high=1.0,
    )
    agreement_radius: float = knob(
        5.0, 'Candidates within this distance are the same place.', unit='m', low=0.01, high=1000.0
    )
    agreement_heading: float = knob(
        60.0, 'Candidates within this angle look the same way.', unit='deg', low=1.0, high=180.0
    )
    min_agreement: float = knob(
        0.6,
        "Without belief: share of the candidates' weight that must agree, else there is no fix.",
        low=0.0,
        high=1.0,
    )
    similarity_scale: float = knob(
        0.02,
        'Without belief: fall of similarity by which the weight of a candidate falls to 1/e.',
        low=0.001,
        high=1.0,
    )
    use_landmarks: bool = knob(
        True, 'Take the pose from the landmarks of the best places, where the map has some.'
    )
    verified_places: int = knob(
        5, 'Best places whose landmarks are matched with each image.', low=1, high=100
    )
    min_inliers: int = knob(
        12,
        'Landmarks of a place that must agree on a pose, else it is not used.',
        low=4,
        high=1000,
    )
    min_inlier_ratio: float = knob(
        0.4,
        'Share of the matched landmarks that must agree on a pose; of XFeat at least 0.55.',
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(LocalizerConfig):
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

    def mountings(self) -> list[Poses | None]:
        """base_T_camera [7] of each camera as far as it is given; raises ConfigError."""
        cameras = len(self.image_topics)
        given = np.array(self.base_T_camera, dtype=np.float64).reshape(-1, 7)
        if len(given) not in (0, cameras):
            raise ConfigError(
                f'base_T_camera: {len(given)} mountings for the {cameras} of image_topic'
            )
        if not len(given):
            return [None] * cameras
        return [checked_pose(pose, source='base_T_camera') for pose in given]

    map: str = knob('', 'Map folder, made by build_map.', at_configure=True)
    model: str = knob(
        '', 'Model folder; empty takes the shipped model that made the map.', at_configure=True
    )
    precision: str = knob(
        'auto',
        "The model's graph that runs; auto takes the fastest that its card accepts for this "
        'processor.',
        choices=WANTED,
        at_configure=True,
    )
    backend: str = knob(
        'auto',
        'What runs the model; where it cannot, the next one does, and diagnostics say why. auto: '
        "TensorRT, else onnxruntime on a GPU, else the CPU; openvino: onnxruntime's.",
        choices=BACKENDS,
        at_configure=True,
    )
    engine_cache: str = knob(
        '',
        "Folder of built TensorRT engines; empty takes vpr_ros/engines in the user's cache.",
        at_configure=True,
    )
    threads: int = knob(
        0, 'Threads of one inference; 0 takes every core.', low=0, high=256, at_configure=True
    )
    image_topic: str = knob(
        'image',
        "Camera topic, without the transport's suffix; several cameras separated by commas.",
        at_configure=True,
    )
    image_transport: str = knob(
        'raw',
        'How images arrive: sensor_msgs/Image, or sensor_msgs/CompressedImage '
        'on <image_topic>/compressed.',
        choices=('raw', 'compressed'),
        at_configure=True,
    )
    image_qos: str = knob(
        'sensor_data',
        'Quality of service of the image subscription: best effort, or reliable with default.',
        choices=('sensor_data', 'default', 'system_default'),
        at_configure=True,
    )
    continuous: bool = knob(
        True, 'Localize every image; if false, only the next one after ~/trigger_localization.'
    )
    map_frame: str = knob(
        '', "Frame of the published poses; empty takes the map's.", at_configure=True
    )
    odom_frame: str = knob('odom', 'Child frame of the published transform.', at_configure=True)
    base_frame: str = knob(
        'base_link', "The robot's frame, which the pose is of.", at_configure=True
    )
    base_T_camera: list[float] = knob(
        (),
        'Mounting of the camera (optical frame) as x y z qx qy qz qw, of several cameras one '
        "after another; empty takes tf, else the mapping camera's.",
        at_configure=True,
    )
    publish_tf: bool = knob(
        False,
        'Broadcast map_frame -> odom_frame at each fix while LOCALIZED '
        '(needs tf2_ros and the odom topic).',
    )
    publish_initialpose: bool = knob(
        False,
        'Publish the first fix once LOCALIZED on initialpose, then nothing until lost again.',
        at_configure=True,
    )
    transform_tolerance: float = knob(
        0.1, 'How far the transform is dated into the future.', unit='s', low=0.0, high=10.0
    )
    published_matches: int = knob(5, 'Matches in each PlaceMatchArray.', low=1, high=100)
    debug_image_height: int = knob(240, 'Height of ~/debug_image.', unit='px', low=64, high=2160)
    diagnostics_period: float = knob(
        1.0, 'Time between diagnostic messages.', unit='s', low=0.1, high=60.0, at_configure=True
    )
    autostart: bool = knob(
        True, 'Configure and activate at start, without a lifecycle manager.', at_configure=True
    )


def check(declared: Field[Any], value: Any) -> Any:
    """Return `value` if it is legal for the field.

    Raises ConfigError saying what came and what was expected.
    """
    default = default_of(declared)
    name, facts = declared.name, declared.metadata
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, list) and not isinstance(value, (str, list)):
        value = [float(number) for number in value]
    if not isinstance(value, type(default)) or isinstance(value, bool) != isinstance(
        default, bool
    ):
        raise ConfigError(
            f'{name}: {value!r} is {type(value).__name__}, expected {type(default).__name__}'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f'{name}: {value}, expected a finite number')
    low, high = facts['low'], facts['high']
    if low is not None and not low <= value <= high:
        raise ConfigError(
            f'{name}: {value}, expected {low:g} to {high:g} {facts["unit"]}'.rstrip()
        )
    if facts['choices'] and value not in facts['choices']:
        raise ConfigError(f'{name}: {value!r}, expected one of {", ".join(facts["choices"])}')
    if isinstance(value, list) and len(value) % 7:
        raise ConfigError(
            f'{name}: {len(value)} numbers, expected 7 (x y z qx qy qz qw) of each camera or none'
        )
    return value


def default_of(declared: Field[Any]) -> Any:
    """A field's default, made anew where it is a list."""
    return declared.default_factory() if callable(declared.default_factory) else declared.default


def node_config(values: Mapping[str, Any]) -> NodeConfig:
    """Checked settings from names and values.

    Raises ConfigError for an unknown name or an illegal value.
    """
    declared = {entry.name: entry for entry in fields(NodeConfig)}
    if unknown := sorted(values.keys() - declared.keys()):
        raise ConfigError(
            f'{", ".join(unknown)}: no such setting; known are {", ".join(declared)}'
        )
    checked: dict[str, Any] = {
        name: check(declared[name], value) for name, value in values.items()
    }
    return NodeConfig(**checked)


def parameter_file() -> str:
    """The text of config/localize.yaml: every parameter with its default, range and meaning."""
    lines = [
        '# Parameters of the node `localize`, with their defaults. '
        'Made by `python -m vpr_ros.core.config`; take a copy,',
        '# change it, and pass it as params_file:=FILE.',
        '/**:',
        '  ros__parameters:',
    ]
    for declared in fields(NodeConfig):
        default, facts = default_of(declared), declared.metadata
        legal = f'{facts["low"]:g} to {facts["high"]:g}' if facts['low'] is not None else ''
        legal = ' | '.join(facts['choices']) or legal
        remarks = ' '.join(filter(None, [facts['unit'], legal]))
        when = ' Taken at configure.' if facts['at_configure'] else ''
        lines.append(f'    # {facts["sentence"]}{f" [{remarks}]" if remarks else ""}{when}')
        if default == []:
            lines.append(f'    # {declared.name}: [0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5]')
        else:
            lines.append(f'    {declared.name}: {json.dumps(default)}')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(parameter_file(), end='')
