"""CSV tables of data sets: read once, with errors that name the file, the line, the column."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from vpr_ros.core.documents import lines_of
from vpr_ros.core.errors import DocumentError
from vpr_training.basics.errors import DatasetError


def read_rows(
    path: Path,
    columns: Sequence[str],
    *,
    may_be_empty: Sequence[str] = (),
    hint: str = 'a value with a comma needs quotes',
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands (`file:line`), and its values; may_be_empty: some of the columns.

    Raises DatasetError for a file that cannot be read, a column that is missing or there twice,
    which it names, a row with too few or too many values, and a table without rows. hint: what to
    say of too many.
    """
    empty = True
    try:
        with path.open(encoding='utf-8-sig', newline='') as file:
            reader = csv.DictReader(lines_of(file))
            found = reader.fieldnames or []
            if missing := [name for name in columns if name not in found]:
                raise DatasetError(
                    f'{path}: lacks the column {", ".join(missing)}; found {", ".join(found)}'
                )
            if twice := [name for name in columns if found.count(name) > 1]:
                raise DatasetError(f'{path}: has the column {", ".join(twice)} twice')
            for row in reader:
                empty = False
                where = f'{path}:{reader.line_num}'
                if more := ''.join(row.get(None) or ()).strip():  # type: ignore[call-overload]
                    raise DatasetError(
                        f'{where}: has more values than columns ({more[:80]}); {hint}'
                    )
                values = {name: (row[name] or '').strip() for name in found}
                needed = [name for name in columns if name not in may_be_empty]
                if short := [name for name in needed if not values[name]]:
                    raise DatasetError(f'{where}: has no {", ".join(short)}')
                yield where, values
    except (OSError, UnicodeDecodeError, csv.Error, DocumentError) as error:
        raise DatasetError(f'{path}: cannot be read ({error})') from error
    if empty:
        raise DatasetError(f'{path}: has no rows')


def number(text: str, name: str, where: str) -> float:
    """A finite number; DatasetError naming the column and the line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f'{where}: {name} is {text!r}, expected a finite number')
    return value


def whole_number(text: str, name: str, where: str) -> int:
    """A whole number; DatasetError naming the column and the line."""
    value = number(text, name, where)
    if not value.is_integer():
        raise DatasetError(f'{where}: {name} is {text!r}, expected a whole number')
    return int(value)
