"""The trainer's rooms: the top level has commands and nothing else, and imports point one way."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

TRAINER = ROOT / 'vpr_training'

# Each room with the rooms that it may import. A command may import them all; nobody imports it.
MAY_IMPORT = {
    'basics': set(),
    'data': {'basics'},
    'models': {'basics'},
    'learning': {'basics', 'data', 'models'},
    'evaluating': {'basics', 'data'},
    'exporting': {'basics', 'data', 'models', 'evaluating'},
    'runs': {'basics', 'data', 'models', 'learning', 'evaluating', 'exporting'},
    'paper': {'basics', 'data', 'models', 'learning', 'evaluating', 'runs'},
}
COMMANDS = {
    'config', 'evaluate', 'experiments', 'export', 'export_xfeat', 'train', 'whitening',
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Full names of what a file imports of the trainer, `from x import y` as x.y."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return {name for name in names if name.split('.')[0] == 'vpr_training'}


def modules(room: str) -> list[Path]:
    """The files of a room, without the command that `python -m` finds in it."""
    return [path for path in sorted((TRAINER / room).rglob('*.py')) if path.name != '__main__.py']


def test_every_folder_is_a_room_of_the_table() -> None:
    rooms = {path.parent.relative_to(TRAINER).as_posix() for path in TRAINER.rglob('*.py')}
    assert rooms - {'.'} == MAY_IMPORT.keys()


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    wrong = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in modules(room)
        for name in sorted(imported(path))
        if name.split('.')[1] not in MAY_IMPORT[room] | {room}
    ]
    assert not wrong


def test_the_table_has_no_circle() -> None:
    below: set[str] = set()
    for room, allowed in MAY_IMPORT.items():
        assert allowed <= below, f'{room} stands before a room that it imports'
        below.add(room)


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_the_modules_of_a_room_make_no_circle(room: str) -> None:
    names = {f'vpr_training.{room}.{path.stem}': path for path in modules(room)}
    reads = {
        name: {other for other in names if any(f'{one}.'.startswith(f'{other}.') for one in found)}
        for name, found in ((name, imported(path)) for name, path in names.items())
    }
    while free := [name for name, others in reads.items() if not others]:
        reads = {name: others - {*free} for name, others in reads.items() if name not in free}
    assert not reads, 'these import each other'


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_a_room_says_its_job_in_one_line(room: str) -> None:
    text = (TRAINER / room / '__init__.py').read_text(encoding='utf-8')
    assert text.startswith('"""') and text.endswith('."""\n') and text.count('\n') == 1


def test_the_top_level_has_commands_and_nothing_else() -> None:
    paths = {path.stem: path for path in TRAINER.glob('*.py') if path.stem != '__init__'}
    assert paths.keys() == COMMANDS
    for path in [*paths.values(), TRAINER / 'data' / '__main__.py']:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert 'main' in defined and isinstance(tree.body[-1], ast.If), path


def test_only_rooms_that_train_or_export_need_torch() -> None:
    """`evaluate` runs where torch is not installed."""
    for room in ('basics', 'evaluating'):
        for path in modules(room):
            assert 'import torch' not in path.read_text(encoding='utf-8'), path
