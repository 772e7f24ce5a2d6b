"""A page needs nothing but itself, says all it was given, and looks right in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from worlds import picture

from vpr_ros.core.errors import VprError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.report.charts import (
    Chart,
    Mistake,
    PathMap,
    Series,
    draw_chart,
    draw_map,
)
from vpr_ros.report.page import (
    Facts,
    Figure,
    Gallery,
    Headline,
    Page,
    Picture,
    Strip,
    Table,
    Text,
    render,
    write_page,
)
from vpr_ros.report.svg import nice_ticks

VOID = {'meta', 'img', 'br'}
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


class Checker(HTMLParser):
    """Reads a page as a browser does; keeps tags, links and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.said = ''
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ('src', 'href')]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def page() -> Page:
    angle = np.linspace(0, 6, 300)
    truth = np.stack([60 * np.cos(angle), 40 * np.sin(angle)], axis=1)
    shown = Picture(encode_jpeg(picture(1)), 'query', 's0')
    return Page(
        'day & <night>',
        'two drives',
        [
            Headline([Figure('Recall@1', '0.623', '0.55 to 0.70', 's0')]),
            Table('By drive', ['', 'R@1'], [['dusk', '0.5']], note='counted once'),
            Chart('Recall over N', 'N', 'recall', [Series('a', np.arange(5), np.arange(5) / 5)]),
            PathMap('Map', truth, [truth], truth[::5], truth[:3], [Mistake((0, 0), (9, 9), 'q7')]),
            Gallery('Failures', [Strip('q7', [shown, Picture(b'', 'no true place')])]),
            Facts('Repeat', [('model', 'lite0')], ['evaluate_bag --map "a b" --bag <c>']),
            Text('Notes', ['A sentence.']),
        ],
    )


def test_a_page_is_whole_html_without_anything_from_elsewhere() -> None:
    text = render(page())
    found = Checker(text)
    assert not found.open and found.tags.count('svg') == 2 and found.tags.count('img') == 1
    assert all(link.startswith('data:') for link in found.links)
    assert 'http' not in text and '@import' not in text and 'url(' not in text


def test_a_page_says_all_it_was_given_and_escapes_it() -> None:
    found = Checker(render(page()))
    for words in (
        'day & <night>', '0.623', 'By drive', 'counted once', 'dusk', 'q7', 'no true place',
        'evaluate_bag --map "a b" --bag <c>', 'A sentence.',
    ):  # fmt: skip
        assert words in found.said
    assert 'night' not in found.tags


def test_a_page_that_cannot_be_written_is_one_line_and_the_old_one_stays(tmp_path: Path) -> None:
    with pytest.raises(VprError, match='cannot be written'):
        write_page(tmp_path / 'nowhere' / 'page.html', page())
    write_page(tmp_path / 'page.html', page())
    before = (tmp_path / 'page.html').read_bytes()
    (tmp_path / '.page.html.lock').mkdir()
    with pytest.raises(VprError):
        write_page(tmp_path / 'page.html', Page('other', '', []))
    assert (tmp_path / 'page.html').read_bytes() == before


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-60, 60, [-50, 0, 50]),
        (3, 3, [3]),
        (0.001, 0.0034, [0.001, 0.0015, 0.002, 0.0025, 0.003]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, expected) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_a_drawing_stays_small_however_long_the_drive() -> None:
    rng = np.random.default_rng(0)
    way = np.cumsum(rng.normal(size=(50_000, 2)), axis=0)
    assert len(draw_map(PathMap('m', way, [way], way, way[:0], []))) < 1_500_000
    series = [Series('a', np.arange(50_000.0), rng.normal(size=50_000))]
    assert len(draw_chart(Chart('c', 'x', 'y', series))) < 50_000


def test_what_has_no_finite_value_is_said_not_drawn() -> None:
    empty, unknown = np.empty((0, 2)), np.full(4, np.nan)
    assert 'nothing to draw' in draw_map(PathMap('m', empty, [empty], empty, empty, []))
    assert 'nothing to draw' in draw_chart(Chart('c', 'x', 'y', [Series('a', unknown, unknown)]))
    assert 'nan' not in draw_chart(
        Chart('c', 'x', 'y', [Series('a', np.arange(4.0), np.array([1, np.nan, 2, 3]))])
    )


def test_a_curve_of_one_point_is_seen() -> None:
    one = Series('a', np.ones(1), np.ones(1), style='step')
    assert '<circle' in draw_chart(Chart('c', 'x', 'y', [one], x_range=(0, 1), y_range=(0, 1)))


def test_a_map_is_drawn_to_one_scale() -> None:
    """A square of 10 m is a square of units, wherever the map is wider than high."""
    corners = np.array([[0, 0], [10, 0], [10, 10], [0, 10], [50, 5]], dtype=float)
    empty = np.empty((0, 2))
    drawn = draw_map(PathMap('m', empty, [corners], empty, empty, []))
    words = drawn.split('class="truth" d="M')[1].split('"')[0].split('L')
    spots = np.array([[float(number) for number in word.split()] for word in words])
    across, up = spots[1, 0] - spots[0, 0], spots[1, 1] - spots[2, 1]
    assert across == pytest.approx(up, abs=0.2) and across > 50


def legend(drawn: str) -> list[tuple[float, float, str]]:
    """Where each name of a legend begins, and the name."""
    found = re.findall(r'<text class="tick" x="(\d+)" y="(\d+)">([^<]*)</text>', drawn)
    return [(float(x), float(y), name) for x, y, name in found]


@pytest.mark.parametrize(('wide', 'width'), [(False, 520), (True, 1080)])
def test_a_legend_takes_as_many_rows_as_its_names_need(wide: bool, width: int) -> None:
    names = [f'lite0-whitened belief=False, candidates={n}' for n in range(5)]
    series = [Series(name, np.arange(3.0), np.arange(3.0)) for name in names]
    drawn = draw_chart(Chart('c', 'x', 'y', series, wide=wide))
    found = legend(drawn)
    assert [name for _, _, name in found] == names
    assert all(x + 6 * len(name) < width for x, _, name in found)
    assert len({(x, y) for x, y, _ in found}) == 5 and len({y for _, y, _ in found}) > 1
    top = min(float(y) for y in re.findall(r'<line class="grid" x1="52" .*? y1="([\d.]+)"', drawn))
    assert top > max(y for _, y, _ in found)  # the plot begins below the legend
    height = int(re.search(r'viewBox="0 0 \d+ (\d+)"', drawn)[1])
    rows = len({y for _, y, _ in found})
    assert height == (250 if wide else 300) + 20 * rows  # and is as high as ever


def test_a_name_wider_than_a_chart_is_cut() -> None:
    names = ['a' * 300, 'b']
    series = [Series(name, np.arange(3.0), np.arange(3.0)) for name in names]
    cut, other = legend(draw_chart(Chart('c', 'x', 'y', series)))
    assert cut[2].endswith('a…') and len(cut[2]) < 80 and other[2] == 'b'


needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason='needs chromium (Debian: apt install chromium)'
)


def browse(folder: Path, *options: str) -> str:
    """What chromium says of folder/page.html, in a profile of its own, without network."""
    fixed = (
        '--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync '
        '--disable-component-update --no-first-run --hide-scrollbars --window-size=1200,2400'
    )
    profile = f'--user-data-dir={folder / "profile"}'
    done = subprocess.run(
        [str(CHROMIUM), *fixed.split(), profile, *options, f'file://{folder / "page.html"}'],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@needs_browser
@pytest.mark.parametrize(('scheme', 'dark'), [(1, False), (0, True)])
def test_a_browser_shows_the_page_in_light_and_in_dark(tmp_path: Path, scheme, dark) -> None:
    write_page(tmp_path / 'page.html', page())
    shot = tmp_path / 'shot.png'
    browse(tmp_path, f'--screenshot={shot}', f'--blink-settings=preferredColorScheme={scheme}')
    seen = cv2.cvtColor(cv2.imread(str(shot)), cv2.COLOR_BGR2RGB)
    background = seen[:, 2].mean(axis=0)
    assert (background.max() < 40) if dark else (background.min() > 230)
    colours = {tuple(colour) for colour in seen[::2, ::2].reshape(-1, 3)}
    red, green = ((255, 116, 97), (76, 198, 127)) if dark else ((209, 67, 43), (29, 154, 85))
    assert red in colours and green in colours  # of the map
    lowest = np.flatnonzero((np.abs(seen.astype(int) - background) > 60).any(axis=(1, 2)))[-1]
    assert lowest > 1200  # all sections stand below each other


TRIAL = """
<script>
  const map = document.querySelector('svg.map'), box = map.getBoundingClientRect();
  const before = map.viewBox.baseVal.width, said = [];
  const at = { clientX: box.left + 100, clientY: box.top + 100, cancelable: true };
  map.dispatchEvent(new WheelEvent('wheel', { deltaY: -100, ...at }));
  said.push(map.viewBox.baseVal.width < before);
  map.dispatchEvent(new Event('dblclick'));
  said.push(map.viewBox.baseVal.width === before);
  const picture = document.querySelector('figure img');
  picture.click();
  said.push(document.querySelectorAll('figure.large').length);
  picture.click();
  said.push(document.querySelectorAll('figure.large').length);
  document.title = 'said ' + said.join(' ');
</script>
</body>"""


@needs_browser
def test_in_a_browser_maps_zoom_and_pictures_grow(tmp_path: Path) -> None:
    text = render(page()).replace('</body>', TRIAL)
    (tmp_path / 'page.html').write_text(text)
    assert '<title>said true true 1 0</title>' in browse(tmp_path, '--dump-dom')


@needs_browser
def test_a_page_prints(tmp_path: Path) -> None:
    write_page(tmp_path / 'page.html', page())
    browse(tmp_path, f'--print-to-pdf={tmp_path / "page.pdf"}')
    assert (tmp_path / 'page.pdf').read_bytes().startswith(b'%PDF')
