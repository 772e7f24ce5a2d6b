"""The page of `evaluate --report`: recall of one model or several, and the worst failures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.image import read
from vpr_ros.core.intervals import SAID
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.recall import Recall
from vpr_ros.report.charts import SERIES_TONES, Chart, Series, Tone
from vpr_ros.report.page import (
    MATCHES,
    PICTURE_PX,
    WORST,
    Facts,
    Figure,
    Gallery,
    Headline,
    Page,
    Picture,
    Section,
    Strip,
    Table,
    write_page,
)
from vpr_ros.report.recall_chart import recall_chart
from vpr_training.data.recall_set import RecallSet
from vpr_training.data.utm_names import distance_m
from vpr_training.evaluating.recall import Measured


def write_report(
    path: Path, measured: Sequence[Measured], images: RecallSet, *, command: str
) -> None:
    """Write the page; raises VprError where it cannot be written."""
    write_page(path, report(measured, images, command=command))


def report(measured: Sequence[Measured], images: RecallSet, *, command: str) -> Page:
    """The page of models measured on one set, the first of them in the headline."""
    names = _distinct([found.card.name for found in measured])
    recalls: dict[str, Recall] = {}
    for name, found in zip(names, measured, strict=True):
        recalls[name] = found.recall
        if found.verified:
            recalls[f'{name}, verified'] = found.verified.recall
    sections: list[Section] = [
        _headline(measured[0]),
        recall_table('Recall', recalls, note=_verification(measured)),
        recall_chart(recalls),
        _ranks_chart(names, measured),
    ]
    if unmatchable := measured[0].recall.unmatchable:
        queries = counted(measured[0].recall.queries, 'query')
        sections.insert(
            2,
            recall_table(
                'Queries that have a true match',
                dict(zip(names, [found.matchable for found in measured])),
                note=f'{unmatchable} of {queries} {by_count(unmatchable, "has", "have")} none in '
                f'the database; {by_count(unmatchable, "it counts", "they count")} as misses '
                f'above and {by_count(unmatchable, "is", "are")} left out here.',
            ),
        )
    for name, found in zip(names, measured, strict=True):
        of_it = f': {name}' if measured[1:] else ''
        if found.conditions:
            sections.append(recall_table(f'By condition{of_it}', found.conditions))
        sections.append(_failures(f'Worst failures{of_it}', found, images))
    sections.append(_facts(measured, images, command))
    subtitle = (
        f'{", ".join(names)}: {counted(len(images.queries), "query")}, '
        f'{counted(len(images.database), "database image")}, right is {images.truth}'
    )
    return Page(f'Recall on {images.name}', subtitle, sections)


def _verification(measured: Sequence[Measured]) -> str:
    best = sorted({found.best for found in measured if found.verified})
    if not best:
        return ''
    counts = ' or '.join(map(str, best))
    return (
        f'Verified: the best {counts} of each query, sorted by how well their cells agree. '
        'Everything below is by descriptors alone.'
    )


def recall_table(title: str, rows: dict[str, Recall], *, note: str = '') -> Table:
    """Recall@N with its 95 % interval, a row for each name."""
    ns = list(next(iter(rows.values())).at)
    return Table(
        title,
        ['', 'queries', 'unmatchable', *(f'R@{n}' for n in ns)],
        [
            [
                name,
                str(recall.queries),
                str(recall.unmatchable),
                *('{:.3f}\n{:.2f}–{:.2f}'.format(recall.at[n], *recall.interval[n]) for n in ns),
            ]
            for name, recall in rows.items()
        ],
        note=note,
    )


def _ranks_chart(names: Sequence[str], measured: Sequence[Measured]) -> Chart:
    deepest = max(found.ranked.shape[1] for found in measured)
    series = []
    for number, (name, found) in enumerate(zip(names, measured, strict=True)):
        missed = (found.first_hit[:, None] < 0) | (
            found.first_hit[:, None] >= np.arange(1, deepest + 1)
        )
        series.append(
            Series(
                name,
                np.arange(1, deepest + 1, dtype=np.float64),
                missed.sum(axis=0).astype(np.float64),
                SERIES_TONES[number % len(SERIES_TONES)],
                'step',
            )
        )
    return Chart('Queries still missed', 'N', 'queries', series)


def _headline(found: Measured) -> Headline:
    shown = [
        Figure(
            f'Recall@{n}',
            f'{share:.3f}',
            '95 %: {:.3f} to {:.3f}'.format(*found.recall.interval[n]),
            's0',
        )
        for n, share in list(found.recall.at.items())[:3]
    ]
    unmatchable = Figure(
        'unmatchable',
        str(found.recall.unmatchable),
        f'of {counted(found.recall.queries, "query")}, counted as misses',
        'silent' if found.recall.unmatchable else 'plain',
    )
    return Headline([*shown, unmatchable])


def _failures(title: str, found: Measured, images: RecallSet) -> Gallery:
    """Queries whose best wrong answer is most similar in comparison with the true place."""
    matchable = np.array([len(rows) > 0 for rows in images.positives])
    failed = np.flatnonzero(matchable & (found.first_hit != 0))
    if not len(failed):
        return Gallery(title, [], 'Every query that has a true match found it at once.')
    described = found.query_descriptors(images)
    database = found.database.array()
    best_true = [_most_similar(database, described[row], images.positives[row]) for row in failed]
    margins = [
        float(described[row] @ database[found.ranked[row, 0]]) - similarity
        for row, (_, similarity) in zip(failed, best_true)
    ]
    order = np.argsort(-np.array(margins), kind='stable')[:WORST]
    strips = [_strip(int(failed[at]), best_true[at], found, images) for at in order]
    note = (
        f'{len(failed)} of {counted(int(matchable.sum()), "query")} with a true match '
        f'{by_count(len(failed), "has", "have")} a wrong first answer; the page shows '
        'those whose wrong answer leads by most. Numbers are cosine '
        'similarities' + (', metres are distances to the query.' if strips[0][1] else '.')
    )
    return Gallery(title, [strip for strip, _ in strips], note)


def _most_similar(
    database: NDArray[np.float32], query: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[int, float]:
    similarity = database[rows] @ query
    best = int(np.argmax(similarity))
    return int(rows[best]), float(similarity[best])


def _strip(
    row: int, best_true: tuple[int, float], found: Measured, images: RecallSet
) -> tuple[Strip, bool]:
    """One failure, and whether its distances are known."""
    query = images.queries[row]
    described, database = found.query_descriptors(images)[row], found.database.array()
    pictures = [_picture(query, 'query', 's0')]
    known = False
    for rank, answer in enumerate(found.ranked[row, :MATCHES].tolist(), start=1):
        if answer < 0:
            continue
        right = bool(np.isin(answer, images.positives[row]))
        apart_m = distance_m(query, images.database[answer])
        known |= apart_m is not None
        said = '' if apart_m is None else f', {apart_m:.0f} m'
        caption = f'{rank}: {float(described @ database[answer]):.3f}{said}'
        pictures.append(_picture(images.database[answer], caption, 'good' if right else 'bad'))
    true_row, similarity = best_true
    first = int(found.first_hit[row])
    place = f'rank {first + 1}' if first >= 0 else f'not in {found.ranked.shape[1]}'
    caption = f'true: {similarity:.3f}, {place}'
    pictures.append(_picture(images.database[true_row], caption, 'good'))
    return Strip(query.name, pictures), known


def _picture(path: Path, caption: str, tone: Tone) -> Picture:
    return Picture.of(read(path, at_least_hw=(PICTURE_PX, PICTURE_PX)), caption, tone)


def _facts(measured: Sequence[Measured], images: RecallSet, command: str) -> Facts:
    facts = [
        ('data set', f'{images.name}: {images.database[0].parent}'),
        ('right is', images.truth),
        *(('left out', said) for said in images.left_out),
        ('search', 'exact, by cosine similarity'),
        ('intervals', SAID),
    ]
    for found in measured:
        card = found.card
        size = f'{card.image_width}x{card.image_height} pixels, {card.descriptor_size} numbers'
        facts.append((f'model {card.name}', f'{size}, sha256 {card.sha256}'))
    return Facts('How to repeat it', facts, [command])


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where two are the same."""
    return [
        f'{name} ({number})' if list(names).count(name) > 1 else name
        for number, name in enumerate(names, start=1)
    ]
