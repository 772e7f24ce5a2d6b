"""The ways of localizing that are to be compared: every map with every choice of settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.documents import parse_yaml
from vpr_ros.core.errors import ConfigError, DocumentError
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.core.settings import Value, checked


@dataclass(frozen=True, slots=True)
class ModelledMap:
    """A map and what describes images for it."""

    place_map: PlaceMap
    model: Model
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way of localizing that is to be measured."""

    name: str
    place_map: PlaceMap
    model: Model
    settings: dict[str, Value]  # of the localizer, where they are not the defaults


def settings_of(assignments: Sequence[str]) -> dict[str, Value]:
    """Checked settings from `name=value`; raises ConfigError."""
    known = {entry.name for entry in fields(LocalizerConfig)}
    settings: dict[str, Value] = {}
    for assignment in assignments:
        name, _, text = assignment.partition('=')
        if name not in known:
            raise ConfigError(
                f'--set {assignment}: expected NAME=VALUE with one of {", ".join(sorted(known))}'
            )
        settings[name] = _value(assignment, text)
    legal = checked(LocalizerConfig, settings)
    return {name: getattr(legal, name) for name in settings}


def _value(assignment: str, text: str) -> Value:
    try:
        value: Value = parse_yaml(text)
    except DocumentError as error:
        raise ConfigError(f'--set {assignment}: {error}') from error
    return value


def opened_maps(
    folders: Sequence[Path], models: Sequence[Path], *, precision: str
) -> list[ModelledMap]:
    """The maps, each with its model: one of `models`, the only one, or the one that made the map.

    Raises ConfigError where maps and models do not fit together, or no drive could fit all maps.
    """
    headers = [read_header(folder) for folder in folders]
    if any(header.datum != headers[0].datum for header in headers):
        raise ConfigError(
            '--map: these maps have different datums, so no drive fits both; evaluate each by '
            'itself'
        )
    chosen = list(models) or [
        model_that_made(header.model_name, header.model_sha256) for header in headers
    ]
    if len(chosen) == 1:
        chosen = chosen * len(headers)
    if len(chosen) != len(headers):
        raise ConfigError(
            f'--model: {len(chosen)} models for {counted(len(headers), "map")}, expected none, '
            'one, or one for each map'
        )
    opened = [Model.open(folder, precision=precision) for folder in chosen]
    return [
        ModelledMap(PlaceMap.open(folder, model=model), model, folder.name)
        for folder, model in zip(folders, opened, strict=True)
    ]


def setups_of(
    maps: Sequence[ModelledMap], settings: Mapping[str, Value], others: Sequence[Sequence[str]]
) -> list[Setup]:
    """Every map with `settings`, and with each of the other choices on top of them.

    others: assignments as of `settings_of`. Names tell the setups apart; raises ConfigError.
    """
    choices = [dict(settings), *({**settings, **settings_of(words)} for words in others)]
    setups = []
    for each in maps:
        for choice in choices:
            words = [each.name] if maps[1:] or not others else []
            words += [said(choice) or 'defaults'] if others else []
            setups.append(
                Setup(
                    name=' '.join(words),
                    place_map=each.place_map,
                    model=each.model,
                    settings=choice,
                )
            )
    names = [setup.name for setup in setups]
    return [
        replace(setup, name=f'{setup.name} ({row})') if names.count(setup.name) > 1 else setup
        for row, setup in enumerate(setups, start=1)
    ]


def said(settings: Mapping[str, Value]) -> str:
    """Settings as a person reads them."""
    return ', '.join(f'{name}={value}' for name, value in settings.items())
