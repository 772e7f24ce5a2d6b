"""Stands in for launch and launch_ros, which come with ROS 2 and are in no package index.

Has the few classes that this package's launch files use, with the same names and arguments, and
makes of a Node the command that launch_ros makes of it, so that a test can run it. Everything of
the launch files themselves is real. test_launch.py tests them by the real launch where it is.
"""

import importlib.util
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

_numbers = itertools.count()


class LaunchContext:
    def __init__(self) -> None:
        self.launch_configurations: dict[str, str] = {}


class LaunchDescription:
    def __init__(self, entities: Iterable[Any]) -> None:
        self.entities = list(entities)


class LaunchDescriptionEntity:
    pass


class DeclareLaunchArgument(LaunchDescriptionEntity):
    def __init__(self, name: str, *, default_value: str, description: str) -> None:
        self.name, self.default_value, self.description = name, default_value, description


class LogInfo(LaunchDescriptionEntity):
    def __init__(self, *, msg: str) -> None:
        self.msg = msg


class OpaqueFunction(LaunchDescriptionEntity):
    def __init__(self, *, function: Any) -> None:
        self.function = function


class LaunchConfiguration:
    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: LaunchContext) -> str:
        return context.launch_configurations[self.name]


class PythonLaunchDescriptionSource:
    def __init__(self, path: str) -> None:
        self.path = path


class IncludeLaunchDescription(LaunchDescriptionEntity):
    def __init__(
        self, source: PythonLaunchDescriptionSource, *, launch_arguments: Iterable[tuple[str, str]]
    ) -> None:
        self.path, self.launch_arguments = source.path, dict(launch_arguments)


class ParameterValue:
    def __init__(self, value: Any, *, value_type: type) -> None:
        self.value = value_type(value)


class Node(LaunchDescriptionEntity):
    """A process; `command` is what launch_ros would run."""

    def __init__(
        self,
        *,
        executable: str,
        package: str | None = None,
        name: str = '',
        namespace: str = '',
        exec_name: str = '',
        parameters: Iterable[str | dict[str, Any]] = (),
        remappings: Iterable[tuple[str, str]] = (),
        arguments: Iterable[str] = (),
        ros_arguments: Iterable[str] = (),
        output: str = 'log',
        emulate_tty: bool = False,
        respawn: bool = False,
        respawn_delay: float = 0.0,
    ) -> None:
        self.executable, self.package = executable, package
        self.name, self.namespace, self.exec_name = name, namespace, exec_name
        self.files = [given for given in parameters if isinstance(given, str)]
        self.parameters: dict[str, Any] = {}
        for given in parameters:
            if isinstance(given, dict):
                self.parameters |= {
                    key: value.value if isinstance(value, ParameterValue) else value
                    for key, value in given.items()
                }
        self.remappings, self.arguments = list(remappings), list(arguments)
        self.ros_arguments = list(ros_arguments)
        self.output, self.emulate_tty = output, emulate_tty
        self.respawn, self.respawn_delay = respawn, respawn_delay

    @property
    def command(self) -> list[str]:
        executable = self.executable
        if self.package is not None:
            from ament_index_python.packages import get_package_prefix

            prefix = get_package_prefix(self.package)
            found = shutil.which(executable, path=f'{prefix}/lib/{self.package}')
            assert found is not None, f'no {executable} in {prefix}/lib/{self.package}'
            executable = found
        command = [executable, *self.arguments, '--ros-args', *self.ros_arguments, '--ros-args']
        command += ['-r', f'__node:={self.name}'] if self.name else []
        space = '/' + self.namespace.strip('/')
        command += ['-r', f'__ns:={space}'] if self.namespace else []
        for file in self.files:
            command += ['--params-file', file]
        if self.parameters:
            command += ['--params-file', self._written(f'{space.rstrip("/")}/{self.name}')]
        for old, new in self.remappings:
            command += ['-r', f'{old}:={new}']
        return command

    def _written(self, full_name: str) -> str:
        with tempfile.NamedTemporaryFile('w', prefix='launch_params_', delete=False) as file:
            yaml.dump({full_name: {'ros__parameters': self.parameters}}, file)
        return file.name


MODULES = {
    'launch': (LaunchContext, LaunchDescription),
    'launch.actions': (
        DeclareLaunchArgument,
        IncludeLaunchDescription,
        LogInfo,
        OpaqueFunction,
    ),
    'launch.launch_description_entity': (LaunchDescriptionEntity,),
    'launch.launch_description_sources': (PythonLaunchDescriptionSource,),
    'launch.substitutions': (LaunchConfiguration,),
    'launch_ros': (),
    'launch_ros.actions': (Node,),
    'launch_ros.parameter_descriptions': (ParameterValue,),
}


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import launch` and `import launch_ros` find the stand-ins."""
    for name, classes in MODULES.items():
        module = ModuleType(name)
        for kind in classes:
            setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)


def description_of(file: Path) -> LaunchDescription:
    """What a launch file describes; its path is not resolved, as launch does not."""
    spec = importlib.util.spec_from_file_location(f'launch_file_{next(_numbers)}', file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    described: LaunchDescription = module.generate_launch_description()
    return described


def arguments_of(file: Path) -> dict[str, str]:
    """The declared arguments and their defaults."""
    return {
        entity.name: entity.default_value
        for entity in description_of(file).entities
        if isinstance(entity, DeclareLaunchArgument)
    }


def launched(file: Path, **arguments: Any) -> list[Any]:
    """The processes and lines of a launch file, in the order in which launch comes to them."""
    context = LaunchContext()
    context.launch_configurations |= {name: str(value) for name, value in arguments.items()}
    return list(_visited(description_of(file).entities, context))


def _visited(entities: Iterable[Any], context: LaunchContext) -> Iterator[Any]:
    for entity in entities:
        if isinstance(entity, DeclareLaunchArgument):
            context.launch_configurations.setdefault(entity.name, entity.default_value)
        elif isinstance(entity, OpaqueFunction):
            yield from _visited(entity.function(context), context)
        elif isinstance(entity, IncludeLaunchDescription):
            context.launch_configurations |= entity.launch_arguments
            yield from _visited(description_of(Path(entity.path)).entities, context)
        else:
            yield entity
