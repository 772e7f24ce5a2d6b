"""Make room for raw images in Fast DDS' shared memory, unless the operator has configured it.

Its segment has 512 kB by default, less than a VGA image. A larger image is sent in pieces over
UDP, and at 1080p hardly any arrives. The segment belongs to the sender: a player of recordings
needs this, and the node does not, because it sends only small messages.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from vpr_ros.core.describing.shipped import share_folders

PROFILES = 'FASTDDS_DEFAULT_PROFILES_FILE'
_BY_OPERATOR = (
    PROFILES,
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS',
    'SKIP_DEFAULT_XML',
)


@contextmanager
def room_for_large_images() -> Iterator[None]:
    """Around rclpy.init and the making of a node: take config/fastdds.xml.

    Other middlewares do not look at it. What the operator has set stays.
    """
    paths = [share / 'config' / 'fastdds.xml' for share in share_folders()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None or any(name in os.environ for name in _BY_OPERATOR):
        yield
        return
    os.environ[PROFILES] = str(path)
    try:
        yield
    finally:
        os.environ.pop(PROFILES, None)
