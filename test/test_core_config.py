"""Every setting has one home.

An illegal value is refused with what came and what was expected.
"""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.settings import checked, default_of, did_you_mean
from vpr_ros.node.config import NodeConfig, parameter_file

ROOT = Path(__file__).resolve().parents[1]


def test_the_parameter_file_in_config_is_the_one_made_from_the_settings() -> None:
    assert (ROOT / 'config' / 'localize.yaml').read_text(encoding='utf-8') == parameter_file()


def test_the_parameter_file_holds_exactly_the_defaults() -> None:
    held = yaml.safe_load(parameter_file())['/**']['ros__parameters']
    assert checked(NodeConfig, held) == NodeConfig()


def test_every_setting_has_a_sentence_and_every_number_a_range() -> None:
    for declared in fields(NodeConfig):
        assert declared.metadata['sentence'].endswith('.'), declared.name
        if type(default_of(declared)) in (int, float):
            assert declared.metadata['low'] <= default_of(declared) <= declared.metadata['high']


@pytest.mark.parametrize(
    ('name', 'value', 'said'),
    [
        ('candidates', 0, 'expected 1 to 1000'),
        ('candidates', 2.5, 'is float, expected int'),
        ('candidates', True, 'is bool, expected int'),
        ('min_similarity', float('nan'), 'finite'),
        ('agreement_radius', -1.0, 'expected 0.01 to 1000 m'),
        ('image_transport', 'theora', 'one of raw, compressed'),
        ('base_T_camera', [1.0, 2.0], '2 numbers, expected 7'),
        ('base_T_camera', '1234567', 'is str, expected list'),
        ('map', 7, 'is int, expected str'),
        ('speed', 1, 'no such setting'),
    ],
)
def test_an_illegal_value_is_refused_with_the_reason(name: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(NodeConfig, {name: value})


def test_a_whole_number_serves_where_a_fraction_is_expected() -> None:
    assert checked(NodeConfig, {'agreement_radius': 3}).agreement_radius == 3.0


def test_a_mounting_is_seven_numbers_and_no_default_is_shared() -> None:
    mounting = [1, 2, 3, 0, 0, 0, 1]
    assert checked(NodeConfig, {'base_T_camera': mounting}).base_T_camera == mounting
    NodeConfig().base_T_camera.append(1.0)
    assert NodeConfig().base_T_camera == []


@pytest.mark.parametrize(
    ('word', 'meant'),
    [('radius', 'agreement_radius'), ('thread', 'threads'), ('beleif', 'belief'), ('xyzzy', None)],
)
def test_a_wrong_name_is_answered_with_the_one_that_was_meant(
    word: str, meant: str | None
) -> None:
    known = [declared.name for declared in fields(NodeConfig)]
    said = did_you_mean(word, known, otherwise='see the file')
    assert said == (f'did you mean {meant}?' if meant else 'see the file')
