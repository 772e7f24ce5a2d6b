"""The node: camera images in, place matches and poses out.

A lifecycle node that also starts by itself (`autostart`).
"""

import sys
from collections.abc import Sequence

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from vpr_ros.core.errors import VprError
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.node.spinning import until_shutdown


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 if it cannot be configured or activated."""
    rclpy.init(args=None if args is None else list(args))
    node: LocalizeNode | None = None
    try:
        node = LocalizeNode()
        if node.config.autostart and not _start(node):
            return 2
        with until_shutdown():
            rclpy.spin(node)
    except VprError as error:
        print(f'localize: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the node was spinning
        pass
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _start(node: LocalizeNode) -> bool:
    """Configure and activate; False where the map, the model or a topic cannot be used."""
    return all(
        change() == TransitionCallbackReturn.SUCCESS
        for change in (node.trigger_configure, node.trigger_activate)
    )


if __name__ == '__main__':
    sys.exit(main())
