"""Run the node from rclpy's start to its end, and tell an operator in one line what kept it.

A signal may come at any time. rclpy then shuts its context down, and whatever is called after
that raises an error of its binding, which `until_shutdown` takes for what it is.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import takewhile

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.core.names import printable
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.node.memory import keep_freed_memory
from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.starting import start_ros


def run(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 if it cannot be started, configured or activated."""
    node: LocalizeNode | None = None
    keep_freed_memory()
    try:
        _require_ros_arguments(sys.argv[1:] if args is None else args)
        start_ros(args, handles_signals=True)
        with until_shutdown():
            node = LocalizeNode()
            if node.config.autostart and not _start(node):
                return 2 if rclpy.ok() else 0
            rclpy.spin(node)
    except VprError as error:
        print(f'localize: {printable(str(error))}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the node was made
        pass
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _require_ros_arguments(given: Sequence[str]) -> None:
    """Raise ConfigError for a word before --ros-args, which rclpy would ignore.

    Remap rules may stand there, as rcl still takes them; but not parameters, which look alike.
    """
    parameters = {entry.name for entry in fields(NodeConfig)}
    for word in takewhile(lambda word: word != '--ros-args', given):
        name, is_pair, _ = word.partition(':=')
        if not is_pair or name in parameters:
            step = f'-p {shlex.quote(word)}' if is_pair else '-p NAME:=VALUE'
            raise ConfigError(
                f'{word}: not a ROS argument; write localize --ros-args {step}, see --help'
            )


def _start(node: LocalizeNode) -> bool:
    """Configure and activate; False where the map, the model or a topic cannot be used."""
    return all(
        change() == TransitionCallbackReturn.SUCCESS
        for change in (node.trigger_configure, node.trigger_activate)
    )
