"""Start rclpy, and say in one line why it cannot be started."""

import re
from collections.abc import Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions

from vpr_ros.core.errors import ConfigError

_ROS_ARGUMENTS = '--ros-args'

# What rcl says it could not read or do, and what would have been right.
_EXPECTED = {
    'params file': 'YAML with NODE: ros__parameters: NAME: VALUE, as config/localize.yaml has it',
    'log level': 'debug, info, warn, error or fatal',
    'parameter override': '-p NAME:=VALUE, a string with spaces or commas in quotes',
    'remap rule': '-r FROM:=TO',
    'initialize logging': 'a folder for logs that can be written; name one with ROS_LOG_DIR',
}


def start_ros(
    args: Sequence[str] | None, *, domain: int | None = None, handles_signals: bool = False
) -> None:
    """Initialize rclpy in a ROS domain (None: that of the environment).

    args: the words of the command, of which rclpy reads those after --ros-args; None: those of
    this process. handles_signals: SIGINT and SIGTERM shut rclpy down, as a node wants it; else
    they stay with the command, which would take a drive that ROS has left for a whole one. Raises
    ConfigError for words that rclpy cannot read, and where it cannot start.
    """
    handlers = SignalHandlerOptions.ALL if handles_signals else SignalHandlerOptions.NO
    try:
        rclpy.init(
            args=None if args is None else list(args),
            domain_id=domain,
            signal_handler_options=handlers,
        )
    except Exception as error:  # the class differs between distributions
        raise ConfigError(_told(error)) from error


def without_ros_arguments(args: Sequence[str]) -> list[str]:
    """The words that are not for rclpy; raises ConfigError for ROS arguments that are wrong."""
    if _ROS_ARGUMENTS not in args:
        return list(args)  # which rclpy would refuse where a name is no UTF-8
    try:
        return list(rclpy.utilities.remove_ros_args(['', *args])[1:])
    except Exception as error:  # the class differs between distributions
        raise ConfigError(_told(error)) from error


def _told(error: Exception) -> str:
    """Make one line of rcl's complaint: without its own source files, and with what is right."""
    text = ' '.join(str(error).split())
    text = re.sub(r', at \S+:\d+', '', text.removeprefix('failed to initialize rcl: '))
    if type(error).__name__ == 'UnknownROSArgsError':
        return f'{text}: no such ROS argument; known are -p, -r, --params-file, --log-level'
    if isinstance(error, UnicodeEncodeError):
        return f'{error.object}: not UTF-8, and ROS takes no such name; rename it'
    for what, expected in _EXPECTED.items():
        if what in text:
            return f'{text}; expected {expected}'
    return text
