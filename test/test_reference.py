"""The reference says what the code does, and Troubleshooting has what the programs say."""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from session_world import drive, session_on, street

from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.core.plurals import counted
from vpr_ros.node import diagnostics, topics
from vpr_ros.node.diagnostics import Health, Stage, status_message
from vpr_ros.session.counts import Counted

sys.path.insert(0, str(ROOT / 'tools'))
import reference

TROUBLE = (ROOT / 'docs' / 'troubleshooting.md').read_text(encoding='utf-8')
MESSAGES = [
    line
    for block in re.findall(r'```output\n(.*?)```', TROUBLE, re.S)
    for line in block.split('\n')
]
GAP = '...'


@pytest.mark.parametrize('name', reference.SOURCES)
def test_the_page_in_docs_is_the_one_made_from_the_code(name: str) -> None:
    text = reference.made(name)
    if text is None:
        pytest.skip(f'needs {reference.SOURCES[name].needs} (make setup-training)')
    assert (reference.PAGES / name).read_text(encoding='utf-8') == text, 'run make reference'


def test_every_topic_and_service_of_the_table_is_one_that_ros_knows() -> None:
    for entry in (*topics.LISTENED, *topics.PUBLISHED, *topics.SERVICES):
        package = entry.type.partition('/')[0]
        assert entry.kind is not None or package in ('vpr_msgs', 'bond'), entry


@pytest.mark.parametrize(
    'name', ['', 'x', 'os/path/join', '.os/msg/X', 'no_such/msg/X', 'a/b/c/d']
)
def test_a_name_that_is_no_interface_gives_none(name: str) -> None:
    assert topics.interface(name) is None


def test_every_value_of_diagnostics_has_its_meaning(tmp_path: Path) -> None:
    session = session_on(street(tmp_path / 'map'))
    for event in drive(range(4)):
        session.handle(event)
    counted = session.counts.snapshot()
    every = Counted(
        uncorrected=1,
        no_fixes={Reason.NOT_SURE.value: 1},
        probability=0.5,
        similarity=0.5,
        last_error='x',
        latency_ms=counted.latency_ms,
        facts=dict.fromkeys((*counted.facts, *_said_facts()), 'x'),
    )
    health = Health(
        node='/localize', stage=Stage.ACTIVE, period_s=1.0, correction_age_s=1.0, counted=every,
        facts=dict.fromkeys(_made_facts(), 'x'),
    )  # fmt: skip
    from builtin_interfaces.msg import Time

    found = {pair.key for pair in status_message(health, stamp=Time()).status[0].values}
    forms = [re.escape(key).replace(r'\*', '.+') for key in diagnostics.VALUES]
    unknown = {key for key in found if not any(re.fullmatch(form, key) for form in forms)}
    unused = {form for form in forms if not any(re.fullmatch(form, key) for key in found)}
    assert unknown == set() and unused == set()


def _said_facts() -> set[str]:
    """The names in `counts.say(**{'name': ...})`, all over the package."""
    return {
        key.value
        for tree in _trees('vpr_ros')
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith('counts.say')
        for word in call.keywords
        if isinstance(word.value, ast.Dict)
        for key in word.value.keys
        if isinstance(key, ast.Constant)
    }


def _made_facts() -> set[str]:
    """The names in the node's own facts."""
    tree = ast.parse((ROOT / 'vpr_ros/node/reporting.py').read_text(encoding='utf-8'))
    made = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == '_facts')
    return {
        key.value
        for node in ast.walk(made)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }


# Troubleshooting


@pytest.mark.parametrize('reason', list(Reason))
def test_every_reason_for_no_fix_is_a_heading_of_troubleshooting(reason: Reason) -> None:
    assert f'\n### no fix: {reason.value}\n' in TROUBLE


@pytest.mark.parametrize('message', [line for line in MESSAGES if line.strip()])
def test_every_message_of_troubleshooting_is_one_that_a_program_says(message: str) -> None:
    pieces = [piece for piece in message.strip().split(GAP) if len(piece) > 2]
    assert any(_holds(said, pieces) for said in _texts()), message


def _holds(said: str, pieces: list[str]) -> bool:
    """Whether the pieces stand in a text, one after another."""
    at = 0
    for piece in pieces:
        at = said.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


_SAID: list[str] = []


def _texts() -> list[str]:
    """Every text in the code, with GAP for what is put into it."""
    if not _SAID:
        _SAID.extend(_text(node) for tree in _trees('vpr_ros') for node in _strings(tree))
    return _SAID


def _trees(package: str) -> Iterator[ast.Module]:
    for path in (ROOT / package).rglob('*.py'):
        yield ast.parse(path.read_text(encoding='utf-8'))


def _strings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            yield node


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return ''.join(_put_in(part) for part in node.values)


def _put_in(part: ast.expr) -> str:
    """GAP, but the words for many where a count chooses them."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    call = part.value
    words = [each.value for each in getattr(call, 'args', ()) if isinstance(each, ast.Constant)]
    if words and ast.unparse(call).startswith('counted('):
        return GAP + counted(2, *words).removeprefix('2')
    if words and ast.unparse(call).startswith('by_count('):
        return str(words[-1])
    return GAP


def test_the_launch_files_tables_have_every_argument() -> None:
    text = (reference.PAGES / 'commands.md').read_text(encoding='utf-8')
    starts = [found.start() for found in re.finditer(r'^### .*\.launch\.py$', text, re.M)]
    assert len(starts) == len(list((ROOT / 'launch').glob('*.launch.py')))
    for start, end in pairwise([*starts, len(text)]):
        assert '| `' in text[start:end]
