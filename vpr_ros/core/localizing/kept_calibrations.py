"""Calibrations as maps and models keep them: in map.yaml and in the model's card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.localizing.confidence import (
    MATCHES,
    OBSERVATIONS,
    SHIPPED,
    USUAL,
    Calibration,
)
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.layout import HEADER_NAME

_MOST_RISK_RATIO = 20.0


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """What map.yaml keeps."""
    usual = calibration.usual
    return {
        'weights': dict(zip(OBSERVATIONS, calibration.weights, strict=True)),
        'bias': calibration.bias,
        'source': calibration.source,
        'frames': calibration.frames,
        'error': calibration.error,
        'risk_ratio': calibration.risk_ratio,
        'radius_m': calibration.radius_m,
        'usual': None if usual is None else dict(zip(USUAL, usual, strict=True)),
    }


def from_dict(values: Mapping[str, Any]) -> Calibration:
    """The inverse; raises ConfigError for what as_dict does not write."""
    try:
        said = dict.fromkeys(MATCHES, 0.0) | dict(values['weights'])
        weights = tuple(float(said[name]) for name in OBSERVATIONS)
        bias = float(values['bias'])
        error, radius_m = values['error'], values['radius_m']
        usual = values.get('usual')
        made = Calibration(
            weights,
            bias,
            str(values['source']),
            int(values['frames']),
            None if error is None else float(error),
            None if radius_m is None else float(radius_m),
            float(values.get('risk_ratio', 1.0)),
            None if usual is None else tuple(float(usual[name]) for name in USUAL),
        )
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f'calibration: {type(error).__name__} {error}') from error
    if not np.isfinite([*weights, bias, *(made.usual or ())]).all():
        raise ConfigError(
            f'calibration: weights {weights}, bias {bias}, usual {made.usual}, '
            'expected finite numbers'
        )
    if not 1 <= made.risk_ratio <= _MOST_RISK_RATIO:
        raise ConfigError(
            f'calibration: risk_ratio {made.risk_ratio}, expected 1 to {_MOST_RISK_RATIO:g}'
        )
    return made


def calibration_of(header: MapHeader, *, folder: Path | str = '') -> Calibration:
    """The calibration of a map: its own, else that of its model, else the shipped one.

    folder: of the map, which is named where its calibration is damaged. Raises MapError then.
    """
    own = _of_map('calibration', header.calibration, folder)
    return own or model_calibration_of(header, folder=folder)


def model_calibration_of(header: MapHeader, *, folder: Path | str = '') -> Calibration:
    """What the model's card said when the map was made, else the shipped one.

    Like calibration_of.
    """
    return _of_map('model_calibration', header.model_calibration, folder) or SHIPPED


def _of_map(
    entry: str, values: Mapping[str, Any] | None, folder: Path | str
) -> Calibration | None:
    if values is None:
        return None
    try:
        return from_dict(values)
    except ConfigError as error:
        raise MapError(
            f'{Path(folder) / HEADER_NAME}: {entry} is damaged ({error}); '
            f'delete the entry {entry} there and run `calibrate` again'
        ) from error
