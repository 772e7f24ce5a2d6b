"""Each topic, service and transform of the node, in one table.

The node makes its publishers, subscriptions and services from these entries, and
`tools/reference.py` makes docs/reference/topics.md from them. Names are as the node gives them to
ROS, before any remapping.
"""

import importlib
from dataclasses import dataclass, replace
from typing import Any

from rclpy.qos import QoSProfile

from vpr_ros.node.qos import LATCHED, RECENT, STREAMED, image_qos


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that the node publishes, or listens to."""

    name: str
    type: str  # package/msg/Name
    qos: QoSProfile  # of images, what image_qos is by default
    when: str  # it is published, or what it is used for

    @property
    def kind(self) -> Any:
        """The class of its messages; None where their package is not built."""
        return interface(self.type)

    def of_camera(self, name: str, *, qos: QoSProfile | None = None) -> 'Topic':
        """The topic of one camera: its name, and the quality of service where it was chosen."""
        return replace(self, name=name, qos=qos or self.qos)


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the node."""

    name: str
    type: str  # package/srv/Name
    meaning: str

    @property
    def kind(self) -> Any:
        """Its class; None where its package is not built."""
        return interface(self.type)


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform that the node takes from tf or sends there."""

    parent: str  # as the parameters name it
    child: str
    when: str


def interface(name: str) -> Any:
    """The class of `package/msg/Name` or `package/srv/Name`; None where there is none here."""
    parts = name.split('/')
    if len(parts) != 3 or parts[1] not in ('msg', 'srv') or not parts[0].isidentifier():
        return None  # names come from recordings, too
    try:
        return getattr(importlib.import_module(f'{parts[0]}.{parts[1]}'), parts[2], None)
    except ImportError:
        return None


# What the node listens to ------------------------------------------------------------------------

IMAGE = Topic(
    '<image_topic>',
    'sensor_msgs/msg/Image',
    image_qos('sensor_data'),
    'The camera, with `image_transport: raw`. One topic for each name in `image_topic`.',
)
COMPRESSED_IMAGE = Topic(
    '<image_topic>/compressed',
    'sensor_msgs/msg/CompressedImage',
    image_qos('sensor_data'),
    'The camera, with `image_transport: compressed`.',
)
CAMERA_INFO = Topic(
    'camera_info',
    'sensor_msgs/msg/CameraInfo',
    STREAMED,
    'Beside the images, such as `/front/camera_info` for `/front/image_raw`. It calibrates the '
    'camera for landmarks, and for the view of the mapping camera. Without it, the camera is '
    'taken for the mapping camera.',
)
ODOM = Topic(
    'odom',
    'nav_msgs/msg/Odometry',
    STREAMED,
    'Optional; for the belief over the drive. `publish_tf` needs it. It may be of another frame '
    'than `base_frame` if tf connects both.',
)
INITIALPOSE = Topic(
    'initialpose',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
    RECENT,
    'Optional. It restricts the search until the next fix, or for `initialpose_timeout` seconds. '
    'It must be in the frame of the map, and near a mapped place.',
)
GPS = Topic(
    'gps/fix',
    'sensor_msgs/msg/NavSatFix',
    image_qos('sensor_data'),
    'Optional, only for maps with GPS positions. It restricts the search as long as it arrives '
    'and the images do not contradict it.',
)
CLOCK = Topic(
    '/clock',
    'rosgraph_msgs/msg/Clock',
    QoSProfile(depth=1, reliability=image_qos('sensor_data').reliability),
    'With `use_sim_time`; rclpy subscribes to it. When the clock goes back, the node forgets the '
    'drive.',
)
LISTENED = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, ODOM, INITIALPOSE, GPS, CLOCK)

# What the node publishes -------------------------------------------------------------------------

POSE = Topic(
    '~/pose',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
    LATCHED,
    'At each fix: the robot (`base_frame`) on the map, with the stamp of the image.',
)
STATE = Topic(
    '~/state',
    'std_msgs/msg/String',
    LATCHED,
    'LOST, TENTATIVE or LOCALIZED, at each change. LOST while inactive.',
)
GIVEN_INITIALPOSE = Topic(
    'initialpose',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
    RECENT,
    'With `publish_initialpose`: one fix when LOCALIZED, and another after each LOST.',
)
MATCHES = Topic(
    '~/matches',
    'vpr_msgs/msg/PlaceMatchArray',
    RECENT,
    'For each image, where vpr_msgs is built: the likeliest places, the verdict, and the reason '
    'if there is no fix.',
)
CANDIDATES = Topic(
    '~/candidates',
    'geometry_msgs/msg/PoseArray',
    RECENT,
    'For each image, while somebody listens: the poses of the likeliest places.',
)
MARKERS = Topic(
    '~/markers',
    'visualization_msgs/msg/MarkerArray',
    RECENT,
    'For each image, while somebody listens: the likeliest places and the pose, for RViz.',
)
PLACES = Topic(
    '~/places',
    'visualization_msgs/msg/Marker',
    LATCHED,
    'At activation, and when another map is loaded: all places of the map, for RViz.',
)
DEBUG_IMAGE = Topic(
    '~/debug_image',
    'sensor_msgs/msg/Image',
    RECENT,
    'For each image, while somebody listens: the camera beside the mapped place, and the verdict.',
)
DIAGNOSTICS = Topic(
    '/diagnostics',
    'diagnostic_msgs/msg/DiagnosticArray',
    RECENT,
    'Every `diagnostics_period` seconds by the wall clock, also before the node is configured.',
)
BOND = Topic(
    'bond',
    'bond/msg/Status',
    QoSProfile(depth=5),
    "While active, where `bond` is installed: heartbeats for Nav2's lifecycle manager.",
)
PUBLISHED = (
    POSE, STATE, GIVEN_INITIALPOSE, MATCHES, CANDIDATES, MARKERS, PLACES, DEBUG_IMAGE,
    DIAGNOSTICS, BOND,
)  # fmt: skip

# Services ----------------------------------------------------------------------------------------

TRIGGER = Service(
    '~/trigger_localization',
    'std_srvs/srv/Trigger',
    'With `continuous: false`: localize the next images, until there is a fix. With `publish_tf` '
    'or `publish_initialpose`, until the state is LOCALIZED.',
)
RESET = Service(
    '~/reset',
    'std_srvs/srv/Trigger',
    'Forget the drive so far, the initial pose, GPS and odometry. No pose of an older image comes '
    'after the reply.',
)
LOCALIZE = Service(
    '~/localize',
    'vpr_msgs/srv/Localize',
    'Localize the image in the request by itself, without effect on the drive. Where vpr_msgs is '
    'built.',
)
LOAD_MAP = Service(
    '~/load_map',
    'vpr_msgs/srv/LoadMap',
    'Change to another map while active. The reply comes when the node uses that map, or has '
    'refused it. Where vpr_msgs is built; without it, set the parameter `map`.',
)
SERVICES = (TRIGGER, RESET, LOCALIZE, LOAD_MAP)

# Transforms --------------------------------------------------------------------------------------

TAKEN_TRANSFORMS = (
    Transform(
        '`base_frame`',
        "the image's `frame_id`",
        'The mounting of the camera, if `base_T_camera` does not give it. The node asks until tf '
        'answers, and keeps the answer as long as `frame_id` is the same: a camera must not turn '
        'on the robot. Needs tf2_ros.',
    ),
)
SENT_TRANSFORMS = (
    Transform(
        "`map_frame`, or the map's frame",
        '`odom_frame`',
        'With `publish_tf`: `tf_rate` times a second, starting with the first fix while '
        'LOCALIZED. Its stamp lies `transform_tolerance` in the future. Needs tf2_ros and '
        'odometry.',
    ),
)
