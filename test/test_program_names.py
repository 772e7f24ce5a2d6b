"""Names that benchmarks, tools and the demo take from other modules are there.

No test runs most of these programs, so that a function that moved would break them unseen. Files
are read and not run, because some need packages that are not installed.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('benchmarks', 'demo', 'tools')
PROGRAMS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob('*.py'))


def module_file(name: str, beside: Path) -> Path | None:
    """The file of a module of this repository, looked for as Python does; None for others'."""
    for start in (beside.parent, ROOT, ROOT / 'benchmarks', ROOT / 'demo', ROOT / 'test'):
        path = start.joinpath(*name.split('.'))
        for found in (path.with_suffix('.py'), path / '__init__.py'):
            if found.is_file():
                return found
    return None


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a module has: its own names, and the modules of its folder where it is a package."""
    found = {'__file__', '__doc__', '__name__', *names_bound(ast.parse(path.read_text()))}
    if path.name == '__init__.py':
        found |= {other.stem for other in path.parent.glob('*.py')}
        found |= {other.name for other in path.parent.iterdir() if other.is_dir()}
    return frozenset(found)


def names_bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement gives its module, not those inside of functions and classes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    for inner in ast.iter_child_nodes(node):
        yield from names_bound(inner)


def missing_names(program: Path) -> list[str]:
    """Each name that a program imports from a module of this repository that has it not."""
    found, modules = [], {}
    tree = ast.parse(program.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            path = module_file(node.module, program)
            for alias in node.names if path else ():
                if alias.name not in names_in(path):
                    found.append(f'{node.module}.{alias.name}')
                inner = module_file(f'{node.module}.{alias.name}', program)
                if inner:
                    modules[alias.asname or alias.name] = inner
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            path = modules.get(node.value.id)
            if path and node.attr not in names_in(path):
                found.append(f'{node.value.id}.{node.attr}')
    return found


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda path: f'{path.parent.name}/{path.name}')
def test_every_imported_name_exists(program: Path) -> None:
    assert missing_names(program) == []


def test_a_name_that_moved_is_found(tmp_path: Path) -> None:
    (tmp_path / 'other.py').write_text('def stays() -> None: ...\n')
    program = tmp_path / 'program.py'
    program.write_text(
        'from other import moved, stays\n'
        'from vpr_ros.map_care import check\n'
        'from numpy import whatever\n'
        'check.find_gaps, check.find_nothing, stays, moved, whatever\n'
    )
    assert missing_names(program) == ['other.moved', 'check.find_nothing']
