"""Files that are written whole: the old one stays until the new one is on the disk."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpr_ros.core.atomic import replace_file, require_writable, unwritable_as
from vpr_ros.core.names import as_text, cleaned
from vpr_training.basics.errors import TrainingError


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, and the folders above it; TrainingError where that fails."""
    with unwritable_as(TrainingError, path, next_step='what was there before is untouched'):
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = as_text(content).encode() if isinstance(content, str) else content
        replace_file(path.absolute(), encoded)


def require_writable_folder(folder: Path) -> None:
    """Raise TrainingError where no file could be written into a folder, which may be missing."""
    with unwritable_as(TrainingError, folder):
        require_writable(folder / 'file')


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header; TrainingError where that cannot be done."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values for people and programs; TrainingError where that cannot be done."""
    write_file(path, json.dumps(cleaned(dict(values)), indent=2) + '\n')
