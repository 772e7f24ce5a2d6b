"""One HTML file that tells everything: figures, tables, charts, a map, failures, how to repeat it.

A page is made of typed sections; what they mean is the caller's business, how they look is decided
here. The file needs no network: style, script, drawings and pictures are inside it. It follows the
reader's light or dark theme and prints light.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

from vpr_ros.core.atomic import replace_file, unwritable_as
from vpr_ros.core.errors import VprError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.names import as_text
from vpr_ros.core.types import Image
from vpr_ros.report.charts import Chart, PathMap, Tone, draw_chart, draw_map

WORST, MATCHES = 12, 5
"""Failures that a gallery shows, and first matches of each."""

PICTURE_PX = 320
"""Longest side of a picture of a gallery."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that stands large."""

    label: str
    value: str
    note: str = ''
    tone: Tone = 'plain'


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures that a hurried reader sees first."""

    figures: Sequence[Figure]
    title: str = ''


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ''


@dataclass(frozen=True, slots=True)
class Shade:
    """A cell of a heat table: words on a colour."""

    said: str
    share: float  # of the colour, in [0, 1]; NaN: none
    tone: Tone = 's0'
    title: str = ''  # when pointed at


@dataclass(frozen=True, slots=True)
class Heat:
    """A table whose cells are coloured by what they say."""

    title: str
    corner: str  # what the rows and the columns are
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Shade]]]
    note: str = ''


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and what it shows; one without bytes is a grey field with the caption."""

    jpeg: bytes
    caption: str
    tone: Tone = 'plain'

    @classmethod
    def of(cls, image: Image | None, caption: str, tone: Tone) -> 'Picture':
        """An RGB image [H, W, 3], made small; None is the grey field."""
        if image is None:
            return cls(b'', caption, tone)
        jpeg = encode_jpeg(image, longest_side_px=PICTURE_PX, quality=75)
        return cls(jpeg, caption, tone)


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures side by side: a query, its first matches, the true place."""

    heading: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Failures as pictures."""

    title: str
    strips: Sequence[Strip]
    note: str = ''


@dataclass(frozen=True, slots=True)
class Drawing:
    """A JPEG as wide as the page."""

    title: str
    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Configuration and digests, and the command that repeats it all."""

    title: str
    facts: Sequence[tuple[str, str]]
    commands: Sequence[str] = ()
    note: str = ''


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph under a heading."""

    title: str
    paragraphs: Sequence[str]


Section: TypeAlias = Headline | Table | Heat | Chart | PathMap | Gallery | Drawing | Facts | Text


@dataclass(frozen=True, slots=True)
class Page:
    """A report; sections come in their order, two narrow charts side by side."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The complete HTML of a page."""
    body = '\n'.join(_section(section) for section in page.sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>{_asset('page.css')}</style>
</head>
<body>
<header><h1>{escape(page.title)}</h1><p>{escape(page.subtitle)}</p></header>
<main>
{body}
</main>
<script>{_asset('page.js')}</script>
</body>
</html>
"""


def write_page(path: Path, page: Page) -> None:
    """Write a page whole or not at all; VprError where it cannot be written."""
    with unwritable_as(VprError, path):
        replace_file(path.absolute(), as_text(render(page)).encode())


def _asset(name: str) -> str:
    return files('vpr_ros.report').joinpath(name).read_text(encoding='utf-8')


def _section(section: Section) -> str:
    match section:
        case Headline():
            content, kind = _headline(section), 'wide bare'
        case Table():
            content, kind = _table(section), 'wide'
        case Heat():
            content, kind = _heat(section), 'wide'
        case Chart():
            content, kind = draw_chart(section), 'wide' if section.wide else 'narrow'
        case PathMap():
            content, kind = draw_map(section), 'wide'
        case Gallery():
            content, kind = ''.join(map(_strip, section.strips)), 'wide'
        case Drawing():
            content, kind = _drawing(section), 'wide'
        case Facts():
            content, kind = _facts(section), 'wide'
        case _:
            content, kind = (
                ''.join(f'<p>{escape(said)}</p>' for said in section.paragraphs),
                'wide',
            )
    title = f'<h2>{escape(section.title)}</h2>' if section.title else ''
    note = getattr(section, 'note', '')
    said = f'<p class="note">{escape(note)}</p>' if note else ''
    return f'<section class="{kind}">{title}{content}{said}</section>'


def _headline(headline: Headline) -> str:
    cards = ''.join(
        f'<div class="card {figure.tone}"><span>{escape(figure.label)}</span>'
        f'<strong>{escape(figure.value)}</strong><small>{escape(figure.note)}</small></div>'
        for figure in headline.figures
    )
    return f'<div class="cards">{cards}</div>'


def _table(table: Table) -> str:
    head = ''.join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = ''.join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + ''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])
        + '</tr>'
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )


def _heat(heat: Heat) -> str:
    head = ''.join(f'<th scope="col">{escape(name)}</th>' for name in (heat.corner, *heat.columns))
    rows = ''.join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_shade, cells))}</tr>'
        for name, cells in heat.rows
    )
    return (
        f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )


def _shade(shade: Shade) -> str:
    title = f' title="{escape(shade.title)}"' if shade.title else ''
    if math.isnan(shade.share):
        return f'<td{title}>{escape(shade.said)}</td>'
    share = round(100 * min(max(shade.share, 0.0), 1.0))
    return (
        f'<td class="shade {shade.tone}" style="--share: {share}%"{title}>'
        f'{escape(shade.said)}</td>'
    )


def _strip(strip: Strip) -> str:
    pictures = ''.join(map(_picture, strip.pictures))
    return (
        f'<article><h3>{escape(strip.heading)}</h3><div class="strip">{pictures}</div></article>'
    )


def _picture(picture: Picture) -> str:
    caption = escape(picture.caption)
    if picture.jpeg:
        encoded = base64.b64encode(picture.jpeg).decode()
        shown = f'<img alt="{caption}" src="data:image/jpeg;base64,{encoded}">'
    else:
        shown = '<div class="missing"></div>'
    return f'<figure class="{picture.tone}">{shown}<figcaption>{caption}</figcaption></figure>'


def _drawing(drawing: Drawing) -> str:
    encoded = base64.b64encode(drawing.jpeg).decode()
    caption = escape(drawing.caption)
    return f'<img class="drawing" alt="{caption}" src="data:image/jpeg;base64,{encoded}">'


def _facts(facts: Facts) -> str:
    rows = ''.join(
        f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts.facts
    )
    commands = ''.join(f'<pre>{escape(command)}</pre>' for command in facts.commands)
    return f'<dl>{rows}</dl>{commands}'
