"""Messages say `1 image` and `3 images`: what counts in them goes through core/plurals.py."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from vpr_ros.core.plurals import by_count, counted

# Bytes and the numbers of a descriptor are left out: they are sizes, and hardly ever 1.
NOUNS = (
    'bags|batches|cameras|candidates|channels|cities|coefficients|drives|epochs|files|fixes|'
    'frames|images|inputs|landmarks|lines|maps|messages|models|modes|mountings|names|outputs|'
    'pairs|parts|photos|places|poses|positions|processes|queries|recordings|rows|runs|seeds|'
    'steps|threads|times|transforms'
)
A_NOUN = re.compile(rf' ((database|image|more|other|wrong) )?({NOUNS})\b(?!/)')
VERBS = re.compile(r'(has|have|is|are|was|were|it|them|s|)')

NEVER_ONE = {
    ('vpr_ros/calibrate.py', 'other.fixes'): 'ten and more agree',
    ('vpr_ros/evaluating/turned.py', 'len(frames)'): 'of a drive of twenty and more',
    ('vpr_ros/core/npy.py', 'dtype'): 'no count',
    ('vpr_ros/core/npy.py', 'rows'): 'so many that a header has no room for them',
    ('vpr_ros/drives/bag_poses.py', 'count'): 'the strays and the others',
    ('vpr_ros/drives/folder.py', 'len(known)'): 'those with a direction and the others',
    ('vpr_ros/drives/geotags.py', 'len(tags)'): 'those far away and the others',
    ('vpr_ros/evaluating/calibration.py', 'sum(after.count)'): 'too few are refused before',
    ('vpr_ros/evaluating/setups.py', 'len(chosen)'): 'one model is for all maps',
    ('vpr_ros/fleet/landmarks.py', 'len(landmarks)'): 'more than a place may have',
    ('vpr_ros/fleet/pull.py', 'len(cut)'): 'those of another kind and the first, or too many',
    ('vpr_ros/fleet/records.py', 'record.places'): 'below 1',
    ('vpr_ros/map_care/archive.py', 'len(finished)'): 'those mounted otherwise and the first',
    ('vpr_ros/map_care/archive.py', 'len(names)'): 'more than are named',
    ('vpr_ros/node/opening.py', 'len(mountings)'): 'one camera needs none',
    ('vpr_training/data/places.py', 'len(self.cities)'): 'one city is not named',
    ('vpr_training/evaluating/third_party_onnx.py', 'len(batch)'): 'one image is no batch',
    ('vpr_training/runs/training_run.py', 'warmup'): 'more than the steps',
}


def modules() -> list[Path]:
    return [path for name in ('vpr_ros', 'vpr_training') for path in (ROOT / name).rglob('*.py')]


def uncounted(source: str) -> Iterator[str]:
    """What f-strings format in front of a plural: no verb, and no limit, a name in capitals."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:]):
                if isinstance(text, ast.Constant) and A_NOUN.match(str(text.value)):
                    assert isinstance(value, ast.FormattedValue)
                    said = ast.unparse(value.value)
                    if not said.isupper() and not said.startswith('by_count('):
                        yield said


def chosen_by_hand(source: str) -> Iterator[str]:
    """Verbs and endings that an `if` chooses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.IfExp) and isinstance(node.test, ast.Compare):
            words = [each.value for each in (node.body, node.orelse) if is_text(each)]
            if len(words) == 2 and all(VERBS.fullmatch(word) for word in words):
                yield ast.unparse(node)
        if isinstance(node, ast.BinOp) and ast.unparse(node.left) == "'s'":
            yield ast.unparse(node)


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize(
    ('count', 'noun', 'said'),
    [
        (0, 'image', '0 images'),
        (1, 'image', '1 image'),
        (2, 'image', '2 images'),
        (1, 'query', '1 query'),
        (3, 'query', '3 queries'),
        (3, 'database image', '3 database images'),
        (3, 'more city', '3 more cities'),
    ],
)
def test_a_noun_takes_the_form_that_its_count_asks_for(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said


def test_a_verb_goes_with_its_count() -> None:
    assert counted(1, 'drive has', 'drives have') == '1 drive has'
    assert counted(2, 'drive has', 'drives have') == '2 drives have'
    assert f'1 of 2 images {by_count(1, "shows", "show")} nothing' == '1 of 2 images shows nothing'
    assert by_count(0, 'shows', 'show') == 'show'


def test_messages_count_by_the_helper() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), said)
        for path in modules()
        for said in uncounted(path.read_text(encoding='utf-8'))
    }
    assert not found - NEVER_ONE.keys(), 'write counted(count, "image")'
    assert not NEVER_ONE.keys() - found, 'no longer there'


def test_no_message_chooses_a_verb_by_hand() -> None:
    wrong = [
        f'{path.relative_to(ROOT)}: {said}'
        for path in modules()
        for said in chosen_by_hand(path.read_text(encoding='utf-8'))
    ]
    assert not wrong, 'write by_count(count, "has", "have")'


def test_the_search_finds_a_bare_count() -> None:
    assert [*uncounted("f'{len(found)} images'; f'{wanted:,} other queries'")] == [
        'len(found)', 'wanted',
    ]  # fmt: skip
    assert not [*uncounted("f'{MOST} images'; f'{rate} images/s'; f'{name} has images'")]
    for wrong in ("'has' if count == 1 else 'have'", "'s' if count > 1 else ''", "'s' * many"):
        assert [*chosen_by_hand(wrong)]


def test_nouns_that_take_no_plain_s_are_in_the_helper() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == 'counted':
                _, noun, *many = node.args
                if not many and is_text(noun):
                    said = counted(2, ast.literal_eval(noun))
                    assert not re.search(r'([^aeiou]y|ss|x|(?<!epo)ch|sh)s$', said), said
