"""The pages name commands that exist, and a figure on two pages is one figure.

What a page says of flags is held against docs/reference, which is made from the code. Figures that
are measured in one place and told in others are held against the page that the measurement writes.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_links import pages

from vpr_ros.core.describing.engine import EngineKey
from vpr_ros.core.describing.model import ModelCard
from vpr_ros.core.describing.parity import LEAST_COSINE
from vpr_ros.core.describing.precision import Accepted
from vpr_ros.core.localizing.confidence import Calibration
from vpr_ros.core.mapping.background import EVERY_PLACE
from vpr_ros.core.mapping.codes import CODED_FROM_BYTES, CODED_FROM_PLACES
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.evaluating.shown_figures import FIGURES
from vpr_ros.fleet.engine import MOST_ATTEMPTS
from vpr_ros.map_care import check, recall
from vpr_ros.map_care.costs import BASE_BYTES
from vpr_ros.map_care.pieces import STRETCH
from vpr_ros.node.config import NodeConfig

REFERENCE = ROOT / 'docs' / 'reference'
NOT_HAND_WRITTEN = {'commands.md', 'training-commands.md', 'training-settings.md'}

# Commands ----------------------------------------------------------------------------------------

_CODE = re.compile(r'```[a-z]*\n(.*?)```|`([^`\n]+)`', re.DOTALL)
_GOES_ON = re.compile(r' *\\\n\s*|\n {4,}(?=\S)')
_ENDS = re.compile(r'\s#|\s\||;|&&|\n|\s>')
_COMMAND = re.compile(
    r'(?:python3?(?:\.\d+)? (?:-m )?|ros2 run (?=vpr_ros))(vpr_\w+[. ][\w.]+|[\w./]+\.py)\b(.*)',
    re.DOTALL,
)
_FLAG = re.compile(r'(?<=\s)--[a-zA-Z][\w.-]*')
_DOTTED = ('vpr_training.train', 'vpr_training.whitening', 'vpr_training.experiments')
_OF_PYTHON = {'--ros-args'}


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands in a text that run something of this project: what is run, and the rest."""
    for block in _CODE.finditer(text):
        for line in _GOES_ON.sub(' ', block[1] or block[2]).split('\n'):
            for part in _ENDS.split(line):
                found = _COMMAND.search(part)
                if found is not None:
                    yield found[1].replace(' ', '.'), found[2]


def flags_of_commands() -> dict[str, set[str]]:
    """Command, or `map` and its verb -> its flags, from the pages that are made from the code."""
    found: dict[str, set[str]] = {}
    for name in ('commands.md', 'training-commands.md'):
        text = (REFERENCE / name).read_text(encoding='utf-8')
        sections = re.split(r'^##+ ', text, flags=re.MULTILINE)[1:]
        for section in sections:
            title, _, body = section.partition('\n')
            found[title] = set(re.findall(r'^- `(--[\w-]+)', body, re.MULTILINE))
            if 'Also the options of [reading a recording]' in body:
                found[title].add('reading')
    for flags in found.values():
        if 'reading' in flags:
            flags |= found['Reading a recording']
    settings = yaml.safe_load((ROOT / 'config/train/all_settings.yaml').read_text())
    for name in _DOTTED:
        found[name] |= {f'--{key}' for key in dotted(settings)}
    return found


def dotted(settings: dict[str, object], before: str = '') -> Iterator[str]:
    """Names of all settings, such as data.root."""
    for key, value in settings.items():
        yield before + key
        if isinstance(value, dict):
            yield from dotted(value, f'{before}{key}.')


def text_of_script(path: Path) -> str:
    """A script's text, with that of the files beside it that it imports."""
    text = path.read_text(encoding='utf-8')
    beside = [path.parent / f'{name}.py' for name in re.findall(r'^from (\w+) import', text, re.M)]
    return text + ''.join(one.read_text(encoding='utf-8') for one in beside if one.exists())


def faults(page: Path, text: str) -> Iterator[str]:
    """What the commands in a text name that does not exist."""
    known = flags_of_commands()
    for name, rest in commands(text):
        said = f'{page.name}: {name}{rest.rstrip()}'
        given = set(_FLAG.findall(rest)) - _OF_PYTHON
        if name.endswith('.py'):
            here = name.lstrip('./')  # after a `cd` that the page has
            script = next((at for at in (ROOT / here, page.parent / here) if at.is_file()), None)
            if script is None:
                yield f'{said}: no such file'
                continue
            there = text_of_script(script)
            unknown = {flag for flag in given if f"'{flag}'" not in there}
        else:
            title = name.removeprefix('vpr_ros.')
            verb = re.match(r' ([a-z]+)\b', rest)
            if title == 'map' and verb is not None:
                title = f'map {verb[1]}'
            if title not in known and not (ROOT / f'{name.replace(".", "/")}.py').is_file():
                yield f'{said}: no such command'
                continue
            unknown = given - known.get(title, set()) - {'--help'}
        if unknown:
            yield f'{said}: no {", ".join(sorted(unknown))}'


def with_commands() -> list[Path]:
    """Pages, settings and benchmarks, all of which tell how something is made again."""
    found = [ROOT / page for page in pages() if page.name not in NOT_HAND_WRITTEN]
    return [*found, *sorted(ROOT.glob('config/**/*.yaml')), *sorted(ROOT.glob('benchmarks/*.py'))]


def test_commands_on_the_pages_exist_with_their_flags() -> None:
    wrong = []
    for page in with_commands():
        text = page.read_text(encoding='utf-8')
        if page.suffix == '.yaml':
            text = '```\n' + '\n'.join(re.findall(r'^# ?(.*)', text, re.MULTILINE)) + '\n```'
        elif page.suffix == '.py':
            text = '```\n' + text.split('"""')[1] + '\n```'
        wrong += list(faults(page, text))
    assert wrong == []


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('`python benchmarks/belief.py --cache DIR`', None),
        ('`python benchmarks/belief.py --cash DIR`', 'no --cash'),
        ('`python benchmarks/gone.py`', 'no such file'),
        ('`python -m vpr_ros.map check MAP --report F`', None),
        ('`ros2 run vpr_ros map check MAP --radius 2`', 'no --radius'),
        ('```\npython -m vpr_ros.build_map --bag B \\\n  --half\n```', None),
        ('```\npython -m vpr_ros.build_map --bag B \\\n  --full\n```', 'no --full'),
        ('`python -m vpr_training.train --data.root D --data.roof D`', 'no --data.roof'),
        ('`python -m vpr_ros.gone`', 'no such command'),
    ],
)
def test_a_command_is_wrong_where_a_name_is(text: str, said: str | None) -> None:
    found = list(faults(ROOT / 'page.md', text))
    assert found == [] if said is None else len(found) == 1 and said in found[0]


def names_in_reference(name: str, form: str) -> set[str]:
    """Names of launch arguments or parameters on a page that is made from the code."""
    return set(re.findall(form, (REFERENCE / name).read_text(encoding='utf-8'), re.MULTILINE))


def test_launch_arguments_and_parameters_on_the_pages_exist() -> None:
    arguments = names_in_reference('commands.md', r'^\| `(\w+)` \|')
    parameters = names_in_reference('parameters.md', r'^### `(\w+)`') | {'use_sim_time'}
    given = r'ros2 launch vpr_ros \S+((?: +"?\w+:=\S+)+)'
    wrong = []
    for page in with_commands():
        text = _GOES_ON.sub(' ', page.read_text(encoding='utf-8'))
        launched = [
            name for one in re.findall(given, text) for name in re.findall(r'(\w+):=', one)
        ]
        wrong += [f'{page.name}: {name}' for name in launched if name not in arguments]
        named = re.findall(r'(?: -p "?|ros2 param set /localize )(\w+)', text)
        wrong += [f'{page.name}: {name}' for name in named if name not in parameters]
    assert len(arguments) > 20 and wrong == []


# The list of modules -----------------------------------------------------------------------------


def rooms_of_the_architecture() -> dict[str, list[str]]:
    """Folder of a room -> the modules in its table in docs/explanation/architecture.md."""
    text = (ROOT / 'docs/explanation/architecture.md').read_text(encoding='utf-8')
    rooms = text.partition('## Where things are')[2].split('\n### ')[1:]
    found = {}
    for room in rooms:
        name, _, table = room.partition('\n')
        firsts = (row.split('|')[1] for row in table.split('\n') if row.startswith('| `'))
        found[name.strip()] = [
            module for cell in firsts for module in re.findall(r'`(\w+)`', cell)
        ]
    return found


def test_the_architecture_names_each_module_once_in_its_room() -> None:
    modules: dict[str, list[str]] = {}
    for package in ('vpr_ros', 'vpr_training'):
        for path in (ROOT / package).rglob('*.py'):
            if not path.stem.startswith('__'):
                room = f'{path.parent.relative_to(ROOT)}/'
                modules.setdefault(room, []).append(path.stem)
    named = rooms_of_the_architecture()
    assert len(modules) > 20
    assert {room: sorted(one) for room, one in named.items()} == {
        room: sorted(one) for room, one in modules.items()
    }


# Figures -----------------------------------------------------------------------------------------

RESULTS = 'docs/results'
SIX = (
    'corridor', 'rtabmap_corridor_loop', 'gardenspoint_thumb', 'nordland_64x32',
    'lund_street_gps', 'ie_tower_indoor',
)  # fmt: skip


def text_of(page: str) -> str:
    """A page in one line, so that it does not matter where its lines break."""
    return re.sub(r'\s+', ' ', (ROOT / page).read_text(encoding='utf-8'))


def rows_of(page: str, *, columns: int) -> list[list[str]]:
    """The cells of all rows of a page's tables that have so many columns."""
    lines = (ROOT / page).read_text(encoding='utf-8').split('\n')
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines if '|' in line]
    return [row for row in cells if len(row) == columns]


def cards() -> dict[str, dict]:
    return {
        path.parent.name: json.loads(path.read_text()) for path in ROOT.glob('models/*/card.json')
    }


def recall_on_the_page() -> dict[tuple[str, str, bool], tuple[float, float]]:
    """(model, set, verified) -> R@1 and R@5, as docs/results/models.md has them."""
    rows = rows_of(f'{RESULTS}/models.md', columns=2 + len(cards()))
    models, of_set, found = rows[0][2:], '', {}
    for row in rows[2:]:
        of_set = row[0].partition(',')[0] or of_set
        for model, cell in zip(models, row[2:], strict=True):
            if cell:
                first, fifth = re.match(r'\*?([\d.]+) / ([\d.]+)', cell).groups()
                found[model, of_set, row[1] == 'yes'] = float(first), float(fifth)
    return found


def test_recall_on_the_page_of_models_is_that_of_their_cards() -> None:
    told = recall_on_the_page()
    assert len(told) > 50
    for (model, of_set, verified), (first, fifth) in told.items():
        card = cards()[model]
        has = card['recall'].get(of_set)
        if has is None:
            continue
        one_query = 1 / has['queries'] + 0.0006  # near ties change with the processor's rounding
        if verified or card.get('cells') is None:
            assert (first, fifth) == pytest.approx((has['1'], has['5']), abs=one_query), model
        else:
            assert first == pytest.approx(has['descriptor'], abs=one_query), (model, of_set)


def test_means_and_bytes_of_models_follow_from_their_sets_and_cards() -> None:
    told, all_cards = recall_on_the_page(), cards()
    rows = [row for row in rows_of(f'{RESULTS}/models.md', columns=6) if row[0] in all_cards]
    assert {row[0] for row in rows} == all_cards.keys()
    for model, alone, verified, size, *_ in rows:
        card = all_cards[model]
        height, width, numbers = card.get('cells') or (0, 0, 0)
        kept = 4 * card['descriptor_size'] + height * width * numbers // 8
        assert f'{kept:,}' == size
        for cell, is_verified in ((alone, False), (verified, True)):
            if cell:
                means = [float(mean) for mean in cell.split(' / ')]
                of_sets = [told[model, name, is_verified] for name in SIX]
                computed = [sum(column) / len(SIX) for column in zip(*of_sets, strict=True)]
                assert means == pytest.approx(computed, abs=0.0011), (model, is_verified)


SPEED, PAIRS = f'{RESULTS}/performance.md', f'{RESULTS}/conditions.md'
INDEX, DEMO = f'{RESULTS}/index.md', f'{RESULTS}/demo.md'
SCALE, FLEET = 'docs/explanation/scale.md', 'docs/how-to/fleet.md'
DECISIONS = 'docs/explanation/decisions'
HALF = f'{DECISIONS}/0031-half-precision-is-asked-for.md'
LARGE = f'{DECISIONS}/0033-a-belief-works-on-what-stands-out.md'
CODES = f'{DECISIONS}/0012-large-parts-are-searched-by-codes.md'
STEADY = f'{DECISIONS}/0023-map-to-odom-goes-out-steadily.md'
BY_LIGHT = f'{DECISIONS}/0038-a-match-counts-by-the-light.md'


def as_is(figure: str) -> str:
    return figure


def whole(figure: str) -> str:
    return f'{float(figure.replace(",", "")):,.0f}'


def tenth(figure: str) -> str:
    return f'{float(figure):.1f}'


@dataclass(frozen=True)
class Told:
    """Figures that one page measures, and the words with which another page tells them."""

    measured: str  # page
    figures: str  # pattern with a group for each figure
    shown: tuple[Callable[[str], str], ...]  # how the other page rounds each
    page: str
    words: str


JPEG = r'VGA JPEG, {} Hz: p50 / p95 / p99 \| ([\d.]+) / ([\d.]+) /'
STEP = (
    r' \(([\d.]+) s of the processor, ([\d,]+) MB at the peak, ([\d.,]+) MB written\)'
    r' \| ([\d.]+) s'
)
MILLION = (
    r'1,000,000 places: added in all, p50 \| ([\d.]+) ms .*?'
    r'processor time of it all \| ([\d.]+) ms .*?'
    r'resident memory \| ([\d,]+) MB \| (\d+) MB its own'
)
WORKERS = (
    r'2 workers by processes, lite0-vlad fp32 \| (\d+) images/s'
    r' \| bare model, 2 threads \| (\d+) images/s \| ([\d.]+)'
)
PUSH, PULL = 'push of 100,000 places in 10 parts' + STEP, 'pull of 100,000 places' + STEP
STEP_SHOWN = tenth, as_is, whole, tenth
MAKING = r'build_map, lite0-vlad fp32 \| ([\d.]+) images/s'
EACH = r'time of the processors for an image \| ([\d.]+) ms'
OWN = r'maps of their own place \| \d+ \| ([\d, of%.\[\]]+) \|'
OWN_FALSE = r'maps of their own place \| \d+ \| (\d+ of [\d,]+),'

ALL_TOLD = (
    Told(SPEED, JPEG.format(10), (whole,) * 2, 'README.md', '{} ms at the median and {} ms at'),
    Told(SPEED, JPEG.format(30), (whole,) * 2, INDEX, 'beside other programs | {} ms'),
    Told(SPEED, r' \| (\d+) MB resident', (as_is,), SCALE, 'measured: [{} to'),
    Told(SPEED, MAKING, (as_is,), SCALE, '[{} images per second on two cores]'),
    Told(
        SPEED, MILLION, (as_is,) * 4,
        SCALE, '{} ms, {} ms of the processor, {} MB resident, of these {} MB its own',
    ),
    Told(SPEED, MILLION, (as_is,) * 4, LARGE, 'and {} at a million'),
    Told(SPEED, PUSH, STEP_SHOWN, FLEET, 'push of all, 100,000 places | {0} | {3} | {1} | {2} |'),
    Told(SPEED, PULL, STEP_SHOWN, FLEET, 'pull of all | {0} | {3} | {1} | {2} |'),
    Told(SPEED, PUSH, STEP_SHOWN, SCALE, '[all steps](../how-to/fleet.md#measured)) | {3} s, and'),
    Told(SPEED, PULL, STEP_SHOWN, SCALE, 's, and {3} s |'),
    Told(
        SPEED, WORKERS, (as_is,) * 3,
        'docs/how-to/archive.md', 'two processes | {} images/s | {} images/s | {}',
    ),
    Told(SPEED, EACH, (whole,), SCALE, 'an image costs {} ms of one processor core'),
    Told(PAIRS, OWN, (as_is,), INDEX, '194 pairs of drives | {} |'),
    Told(PAIRS, OWN_FALSE, (as_is,), BY_LIGHT, 'false fixes there | 49 of 19,546 | {} |'),
    Told(PAIRS, r'\*\*(\d+ of \d+) pairs hold', (as_is,), INDEX, '1 % false fixes | {} |'),
    Told(PAIRS, r'\*\*(\d+) of 277 pairs hold', (as_is,), BY_LIGHT, 'of 277 | 272 | {} |'),
    Told(DEMO, r'\*\*(0\.\d\d) m\*\*', (as_is,), INDEX, 'median error | {} m'),
    Told(DEMO, r'\*\*(0 of \d+)\*\*', (as_is,), f'{RESULTS}/disturbed-drives.md', '0.96, {} |'),
    Told(SCALE, r'\*\*sum\*\* \| \*\*([\d,]+)\*\*', (as_is,), HALF, 'takes {} bytes'),
)  # fmt: skip


@pytest.mark.parametrize('told', ALL_TOLD, ids=lambda told: f'{told.page}: {told.words}')
def test_a_figure_on_two_pages_is_one_figure(told: Told) -> None:
    found = re.search(told.figures, text_of(told.measured))
    assert found is not None, f'{told.measured} has no {told.figures}'
    shown = [show(figure) for show, figure in zip(told.shown, found.groups(), strict=True)]
    assert told.words.format(*shown) in text_of(told.page), f'{told.measured} has {found[0]}'


def test_the_groups_of_pairs_add_up() -> None:
    rows = {row[0]: row[1:] for row in rows_of(PAIRS, columns=8) if row[1].isdigit()}

    def added(names: Iterable[str], column: int, pattern: str) -> int:
        cells = [re.match(pattern, rows[name][column]) for name in names]
        return sum(int(cell[1].replace(',', '')) for cell in cells if cell is not None)

    parts = ('rendered', 'rendered, with odometry', 'real')
    own = ('maps of their own place',)
    for column, pattern in (
        (0, r'(\d+)'),
        (1, r'(\d+) of'),
        (1, r'\d+ of ([\d,]+)'),
        (2, r'(\d+)'),
    ):
        assert added(parts, column, pattern) == added(own, column, pattern)
    counted = (*own, 'foreign', 'mixture')  # twins count apart
    told = re.search(r'\*\*(\d+) of (\d+) pairs hold', text_of(PAIRS))
    assert told is not None
    assert [int(figure) for figure in told.groups()] == [
        added(counted, column, r'(\d+)') for column in (2, 0)
    ]


def test_what_a_place_takes_adds_up() -> None:
    rows = rows_of(SCALE, columns=4)
    first = next(number for number, row in enumerate(rows) if row[0].startswith('descriptor'))
    last = next(number for number, row in enumerate(rows) if row[0] == '**sum**')

    def size(cell: str) -> int:
        return int(re.sub(r'\D', '', cell))

    for column in (1, 2):
        assert sum(size(row[column]) for row in rows[first:last]) == size(rows[last][column])
    each, pictures = (size(row[1]) / 1000 for row in (rows[last], rows[last - 2]))
    assert f'{each:.1f} MB; {pictures:.1f} MB of it are small pictures' in text_of('README.md')


SETTINGS = NodeConfig()
RATE_PERCENT = 100 * SETTINGS.max_false_fix_rate
IN_PROSE = (
    ('docs/glossary.md', f'{SETTINGS.candidates} of them by default'),
    ('docs/tutorials/nav2.md', f'{SETTINGS.tf_rate:g} times a second'),
    ('docs/tutorials/robot-localization.md', f'by default, {RATE_PERCENT:g} % of fixes may be'),
    ('docs/tutorials/first-map.md', f'`agreement_radius` ({SETTINGS.agreement_radius:g} m by'),
    (f'{RESULTS}/real-drives.md', f'is its default, {SETTINGS.agreement_radius:g} m'),
    ('docs/how-to/see-it-live.md', f'`rerun_max_size`, {SETTINGS.rerun_max_size:,.0f} MB'),
    (STEADY, f'`tf_rate` ({SETTINGS.tf_rate:g} Hz)'),
    (STEADY, f'`transform_tolerance` ({SETTINGS.transform_tolerance:g} s)'),
    (STEADY, f'`odometry_wait` ({SETTINGS.odometry_wait:g} s)'),
    (SCALE, f'in parts of {CODED_FROM_PLACES:,} places and more'),
    (SCALE, f'counts {BASE_BYTES / 1e6:g} MB for the node'),
    (SCALE, f'compares at most {check.MOST_QUERIES:,} places'),
    (SCALE, f'with at most {recall.MOST_QUERIES:,}'),
    (CODES, f'{CODED_FROM_BYTES / 1e6:g} MB of descriptors and {CODED_FROM_PLACES:,} places'),
    ('docs/explanation/architecture.md', f'has more than {EVERY_PLACE:,} places'),
    (FLEET, f'{MOST_ATTEMPTS} times'),
    ('docs/how-to/archive.md', f'at most {STRETCH:,} images'),
    *(('docs/how-to/jetson.md', f'{least} in {bits}') for bits, least in LEAST_COSINE.items()),
)


@pytest.mark.parametrize(('page', 'words'), IN_PROSE)
def test_a_default_in_prose_is_that_of_the_code(page: str, words: str) -> None:
    assert words in text_of(page)


@pytest.mark.parametrize('form', [ModelCard, Accepted, MapHeader, Calibration])
def test_the_formats_name_each_entry(form: type) -> None:
    text = text_of('docs/reference/formats.md')
    assert [entry.name for entry in fields(form) if f'`{entry.name}`' not in text] == []


def test_the_formats_name_each_figure_of_an_evaluation() -> None:
    text = text_of('docs/reference/formats.md')
    keys = [shown.key for shown in FIGURES]
    assert len(keys) > 20
    assert [key for key in keys if f'`{key.removesuffix("_interval")}`' not in text] == []


def test_how_alike_an_engine_must_describe_is_what_the_page_of_engines_says() -> None:
    said = ', '.join(f'{least} in {bits}' for bits, least in LEAST_COSINE.items())
    page = (ROOT / 'docs/how-to/jetson.md').read_text()
    assert f'must be at least {said}.' in ' '.join(page.split())


def test_engines_are_named_as_the_formats_say() -> None:
    told = '`<gpu>-sm<compute capability>-<library and version>-<precision>-<graph digest>.engine`'
    assert told in text_of('docs/reference/formats.md')
    key = EngineKey(
        gpu='Orin', compute_capability='8.7', library='TensorRT 10.3.0', precision='fp16',
        graph_sha256='ab' * 32,
    )  # fmt: skip
    assert key.file_name == 'orin-sm8.7-tensorrt-10-3-0-fp16-abababababab.engine'
