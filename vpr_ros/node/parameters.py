"""ROS parameters made from the settings dataclass.

Types, defaults, ranges and descriptions are declared once, there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.core.settings import check, checked, default_of, did_you_mean
from vpr_ros.node.config import NodeConfig

_FIELDS = {declared.name: declared for declared in fields(NodeConfig)}


class Parameters:
    """The node's parameters, read back as one NodeConfig.

    They are declared here, and checked at every change.
    """

    def __init__(
        self,
        node: Node,
        *,
        is_configured: Callable[[], bool],
        require: Callable[[NodeConfig], None],
        on_change: Callable[[NodeConfig], None],
        change_map: Callable[[str], None],
    ) -> None:
        """Declare all parameters; raises ConfigError for a bad value given at start.

        require: raises VprError for values that do not fit what is configured; on_change: is
        called with the values after each change; change_map: with another map of a configured
        node, raises VprError where it is refused.
        """
        self._node = node
        self._is_configured = is_configured
        self._require = require
        self._on_change = on_change
        self._change_map = change_map
        self._settles_map = False
        self.config = NodeConfig()
        node.add_on_set_parameters_callback(self._on_set)
        for declared in _FIELDS.values():
            try:
                node.declare_parameter(declared.name, default_of(declared), _descriptor(declared))
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                raise ConfigError(_reason(error, declared.name)) from error
        self._give_empty_lists_a_type()
        self._tell_unknown()

    def _give_empty_lists_a_type(self) -> None:
        """Declare `[]` anew: in YAML, as `ros2 param dump` writes it, it has no type for rcl."""
        for name, declared in _FIELDS.items():
            if (
                isinstance(default_of(declared), list)
                and self._node.get_parameter(name).type_ is Parameter.Type.NOT_SET
            ):
                self._node.set_parameters([Parameter(name, value=[])])

    def _tell_unknown(self) -> None:
        """Warn of names that were given at start and that the node does not have.

        rclpy lists what was given only in an attribute of its own; where a release has it no
        more, there is no warning.
        """
        for name in sorted(getattr(self._node, '_parameter_overrides', {})):
            if not self._node.has_parameter(name) and not name.startswith('qos_overrides.'):
                advice = did_you_mean(name, _FIELDS, otherwise='see config/localize.yaml')
                self._node.get_logger().warning(
                    f'parameter {name}: no parameter has this name, so it is ignored; {advice}'
                )

    def settle_map(self, folder: str) -> None:
        """Set the parameter `map` to the map that is served."""
        if folder != self.config.map:
            self._settles_map = True
            try:
                self._node.set_parameters([Parameter('map', value=folder)])
            finally:
                self._settles_map = False

    def _on_set(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        """Refuse an illegal change with its reason; take a legal one over at once."""
        values = {name: getattr(self.config, name) for name in _FIELDS}
        try:
            for change in changes:
                if change.name not in _FIELDS:
                    continue
                declared = _FIELDS[change.name]
                value = check(declared, _value(change))
                fixed = declared.metadata['at_configure'] and self._is_configured()
                if fixed and value != values[change.name]:
                    raise ConfigError(
                        f'{change.name}: the node reads this parameter when it is configured; '
                        'change it after `ros2 lifecycle set <node> cleanup`'
                    )
                values[change.name] = value
            config = checked(NodeConfig, values)
            self._require(config)
            asks_map = any(change.name == 'map' for change in changes)
            if asks_map and self._is_configured() and not self._settles_map:
                self._change_map(config.map)
            self.config = config
        except VprError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._on_change(self.config)
        return SetParametersResult(successful=True)


def _value(change: Parameter[Any]) -> Any:
    """The value of a change; an empty list in YAML comes without a type, as None."""
    is_list = isinstance(default_of(_FIELDS[change.name]), list)
    return [] if is_list and change.value is None else change.value


def _descriptor(declared: Field[Any]) -> ParameterDescriptor:
    """Description and range of a parameter.

    Numbers and lists are typed dynamically, so that `radius:=5` works as `5.0` does.
    """
    facts, default = declared.metadata, default_of(declared)
    unit = f' [{facts["unit"]}]' if facts['unit'] else ''
    choices = f' One of: {", ".join(facts["choices"])}.' if facts['choices'] else ''
    descriptor = ParameterDescriptor(
        name=declared.name,
        description=facts['sentence'] + unit + choices,
        dynamic_typing=isinstance(default, (float, list)),
    )
    low, high = facts['low'], facts['high']
    if low is not None and isinstance(default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor


def _reason(error: Exception, name: str) -> str:
    """The sentence of our own check inside rclpy's exception, else rclpy's.

    rclpy ends every such sentence with the parameter's name, which the sentence already has.
    """
    text = str(error).removesuffix(f': {name}')
    return text.partition('Reason: ')[2].rstrip('.') or text
