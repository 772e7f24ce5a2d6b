"""A number that cannot be is one line and status 2, the same in every command that has it."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds import straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros import build_engine, build_map, calibrate, evaluate_bag, images_to_bag, map
from vpr_ros.cli.command import Parser, command
from vpr_ros.cli.option_values import between, count, not_negative, positive

ABOVE_0, FROM_0 = 'a number above 0', 'a number of at least 0'
THREADS = 'a whole number from 0 to 256'

# What each command needs besides the option; nothing of it is opened.
NEEDED = {
    'build_map': ['--bag', 'b', '--output', 'o'],
    'build_engine': [],
    'calibrate': ['--map', 'm', '--bag', 'b'],
    'evaluate_bag': ['--map', 'm', '--bag', 'b'],
    'images_to_bag': ['f', '--output', 'o'],
    'replay_bag': ['b'],
    'map check': ['m'],
    'map append': ['m', '--bag', 'b'],
    'map prune': ['m'],
    'map merge': ['m', '--output', 'o'],
}
EXPECTED = {
    '--radius': (ABOVE_0, ['0', '-1', 'nan', 'inf', 'near']),
    '--rate': (ABOVE_0, ['0', '-2', 'nan', 'inf']),
    '--heading': (ABOVE_0, ['0', '-5', 'nan']),
    '--split-every': (ABOVE_0, ['0', 'nan', 'inf']),
    '--near': (ABOVE_0, ['0', 'nan']),
    '--far': (ABOVE_0, ['-20', 'nan']),
    '--spacing': (ABOVE_0, ['0', 'nan']),
    '--max-pose-gap': (FROM_0, ['-5', 'nan', 'inf']),
    '--threads': (THREADS, ['-1', '257', '1.5', 'nan', 'inf', 'all']),
}
HAVE = {
    '--radius': ['build_engine', 'calibrate', 'evaluate_bag', 'map prune', 'map merge'],
    '--rate': ['evaluate_bag', 'images_to_bag', 'replay_bag'],
    '--heading': ['evaluate_bag'],
    '--split-every': ['evaluate_bag'],
    '--near': ['map check'],
    '--far': ['map check'],
    '--spacing': ['images_to_bag'],
    '--max-pose-gap': [name for name in NEEDED if name not in ('replay_bag', 'map check')],
    '--threads': ['build_map', 'build_engine', 'calibrate', 'evaluate_bag', 'map append'],
}


def run(name: str, *words: str) -> int:
    if name == 'replay_bag':
        pytest.importorskip('rclpy', reason='needs ROS 2')
        from vpr_ros import replay_bag

        return replay_bag.main([*NEEDED[name], *words])
    modules = (build_engine, build_map, calibrate, evaluate_bag, images_to_bag, map)
    of_name = {module.__name__.rpartition('.')[2]: module for module in modules}
    first, *verb = name.split()
    return of_name[first].main([*verb, *NEEDED[name], *words])


@pytest.mark.parametrize(
    ('name', 'option', 'value'),
    [
        (name, option, value)
        for option, names in HAVE.items()
        for name in names
        for value in EXPECTED[option][1]
    ],
)
def test_a_number_that_cannot_be_is_one_line_and_status_2(
    name: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, f'{option}={value}') == 2
    assert capsys.readouterr().err == (
        f'error: {option} {value}: expected {EXPECTED[option][0]}\n'
    )


@pytest.mark.parametrize(
    ('option', 'value', 'expected'),
    [
        ('--distance', '-1', '0 to 1000'),
        ('--distance', 'nan', '0 to 1000'),
        ('--heading', '181', '0 to 180'),
        ('--similarity', '2', '-1 to 1'),
        ('--similarity', 'nan', '-1 to 1'),
        ('--max-recall-drop', 'nan', '-1 to 1'),
    ],
)
def test_what_is_redundant_has_limits(
    option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('map prune', f'{option}={value}') == 2
    assert capsys.readouterr().err == f'error: {option} {value}: expected {expected}\n'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], 'error: the following arguments are required: --map, --bag; see calibrate --help\n'),
        (
            ['--map', 'm', '--bag'],
            'error: --bag: expected one argument; '
            'write --bag=VALUE for a value that begins with -\n',
        ),
        (
            ['--map', 'm', '--bag', 'b', '--speed', '3'],
            'error: unrecognized arguments: --speed 3; see calibrate --help\n',
        ),
        (
            ['-map', 'm', '--bag', 'b'],
            'error: -map: no such option; did you mean --map? See calibrate --help\n',
        ),
        (
            ['--map', 'm', '--bga=b'],
            'error: --bga: no such option; did you mean --bag? See calibrate --help\n',
        ),
        (
            ['--map', 'm', '--xyzzy', '1', '--mounting', '-1 0 0 0 0 0 1'],
            'error: --xyzzy: no such option; see calibrate --help\n',
        ),
        (
            ['--map', 'm', '--rad', '3'],
            'error: the following arguments are required: --bag; see calibrate --help\n',
        ),
    ],
)
def test_wrong_usage_is_one_line_too(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate.main(words) == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ('main', 'words', 'said'),
    [
        (build_map.main, [], '--output, one of --bags --bag --images; see build_map'),
        (build_map.main, ['--images', 'i'], '--output; see build_map'),
        (build_map.main, ['--bag=b'], '--output; see build_map'),
        (evaluate_bag.main, [], '--bag, one of --map --map-bag; see evaluate_bag'),
        (map.main, ['append'], 'MAP, one of --bag --images; see map append'),
    ],
)
def test_all_that_is_required_is_told_at_once(
    main: Callable[[list[str]], int],
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f'error: the following arguments are required: {said} --help\n'
    )


@pytest.mark.parametrize('words', [['build_map', '--output', 'o'], ['map', 'append', 'm']])
def test_an_empty_name_of_a_recording_is_the_working_folder(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    rows = unit_rows(2, 8)
    write_map(tmp_path / 'm', rows, straight_drive(2))
    model = write_tiny_model(tmp_path / 'model').folder
    main = {'build_map': build_map.main, 'map': map.main}[words[0]]
    assert main([*words[1:], '--model', str(model), '--bag', '']) == 2
    assert capsys.readouterr().err.startswith('error: ')


@pytest.mark.parametrize(
    ('kind', 'text', 'value'),
    [
        (positive, '0.5', 0.5),
        (positive, '1e-3', 0.001),
        (not_negative, '0', 0.0),
        (count, '0', 0),
        (count, '12', 12),
        (between(-1, 1), '-1', -1.0),
    ],
)
def test_numbers_that_can_be_are_taken(kind, text, value) -> None:
    found = kind(text)
    assert found == value and type(found) is type(value)


def test_a_bare_parser_says_the_same_in_its_own_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the demo and the benchmarks are argparse's own."""
    parser = argparse.ArgumentParser(prog='train')
    parser.add_argument('--radius', type=positive)
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['--radius', '0'])
    assert 'argument --radius: 0: expected a number above 0' in capsys.readouterr().err


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its verbs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from parsers(verb)


@pytest.mark.parametrize(
    'module', [build_engine, build_map, calibrate, evaluate_bag, images_to_bag, map]
)
def test_every_option_is_explained(module) -> None:
    silent = [
        (parser.prog, action.dest)
        for parser in parsers(module.make_parser())
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert silent == []


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    main = command(lambda argv: Parser(prog='some').parse_args(argv) and 0)
    with pytest.raises(SystemExit, match='0'):
        main(['--help'])
    assert 'usage: some' in capsys.readouterr().out
