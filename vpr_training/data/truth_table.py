"""Sets whose truth is a table.

They are `database/` + `queries/` + `gt.csv`, or one sequence, `images/` + `gt.csv`. `gt.csv` has
the header `query,positives`; positives are file names separated by `;`, further columns are
ignored. They are relative to their folder, so sub-folders work. A query without positives stays
in: it counts as a miss and is reported apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Rows
from vpr_training.basics.errors import DatasetError
from vpr_training.data.files import list_images, others_in
from vpr_training.data.recall_set import RecallSet
from vpr_training.data.tables import read_rows

TABLE_NAME = 'gt.csv'


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / TABLE_NAME).is_file()


def read(folder: Path, *, radius_m: float | None = None) -> RecallSet:
    """Read a set; raises DatasetError.

    The table decides what is right, so `radius_m` changes nothing.
    """
    if (folder / 'database').is_dir() and (folder / 'queries').is_dir():
        return _read_pair(folder)
    if (folder / 'images').is_dir():
        return _read_sequence(folder)
    raise DatasetError(
        f'{folder}: has {TABLE_NAME} but neither database/ and queries/ nor images/ beside it'
    )


def _read_pair(folder: Path) -> RecallSet:
    database = list_images(folder / 'database')
    row_of = _rows_by_name(folder / 'database', database)
    known = _rows_by_name(folder / 'queries', list_images(folder / 'queries'))
    queries, positives = [], []
    for line, query, names in _lines(folder / TABLE_NAME):
        _row(known, query, line, folder / 'queries')
        queries.append(folder / 'queries' / query)
        positives.append(_rows(row_of, names, line, folder / 'database'))
    return RecallSet(
        as_text(folder.resolve().name),
        database,
        tuple(queries),
        tuple(positives),
        truth=TABLE_NAME,
        left_out=(
            *_not_listed(known, queries),
            *others_in(folder / 'database', folder / 'queries'),
        ),
    )


def _not_listed(known: Mapping[str, int], queries: Sequence[Path]) -> list[str]:
    """What to say of images in queries/ that the table does not name."""
    if len(queries) == len(known):
        return []
    images = counted(len(known), 'image')
    return [f'{len(known) - len(queries)} of {images} in queries/ not in {TABLE_NAME}']


def _read_sequence(folder: Path) -> RecallSet:
    images = list_images(folder / 'images')
    row_of = _rows_by_name(folder / 'images', images)
    queries, positives = [], []
    for line, query, names in _lines(folder / TABLE_NAME):
        row = _row(row_of, query, line, folder / 'images')
        found = _rows(row_of, names, line, folder / 'images')
        if len(found) and found[-1] >= row:
            raise DatasetError(
                f'{line}: {query} should match {images[found[-1]].name}, '
                'expected an earlier image in images/'
            )
        queries.append(row)
        positives.append(found)
    return RecallSet(
        as_text(folder.resolve().name),
        images,
        tuple(images[row] for row in queries),
        tuple(positives),
        truth=f'{TABLE_NAME}, earlier frames only',
        left_out=tuple(others_in(folder / 'images')),
        earlier_than=np.array(queries, dtype=np.int64),
    )


def _lines(table: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Where a line stands, its query and the names of its positives."""
    seen: set[str] = set()
    rows = read_rows(
        table,
        ('query', 'positives'),
        may_be_empty=('positives',),
        hint='separate positives by semicolons',
    )
    for where, row in rows:
        if row['query'] in seen:
            raise DatasetError(f'{where}: query {row["query"]} occurs twice')
        seen.add(row['query'])
        names = [name.strip() for name in row['positives'].split(';')]
        yield where, row['query'], [name for name in names if name]


def _rows_by_name(folder: Path, images: tuple[Path, ...]) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): row for row, path in enumerate(images)}


def _row(row_of: Mapping[str, int], name: str, where: str, folder: Path) -> int:
    if name not in row_of:
        raise DatasetError(f'{where}: {name!r} is not an image in {folder}')
    return row_of[name]


def _rows(row_of: Mapping[str, int], names: list[str], where: str, folder: Path) -> Rows:
    rows = {_row(row_of, name, where, folder) for name in names}
    return np.array(sorted(rows), dtype=np.int64)
