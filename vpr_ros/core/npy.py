"""A .npy file whose rows are appended as they come, so that nothing waits in memory.

The format puts the number of rows in front of them, where it is not known yet. The header is
therefore written twice, first for no rows and at the end for all: numpy.lib.format pads headers to
64 bytes, which leaves room for the number. Until the end the number of rows follows from the
file's length, so that a file whose writer was killed can be gone on with.
"""

import io
import os
from typing import Any, BinaryIO

import numpy as np


class NpyWriter:
    """Rows of one dtype and width on their way into a file, which stays the caller's."""

    def __init__(
        self, file: BinaryIO, dtype: np.dtype[Any], columns: int | None, *, keep_rows: int = 0
    ) -> None:
        """Begin an empty file, or go on with one whose writer was killed.

        file: open for writing, not for appending; columns: numbers of a row; None: rows are single
        numbers; keep_rows: how many whole rows of a file of this form are kept, at most; it must
        be open for reading then.
        """
        self._file = file
        self._dtype = dtype
        self._columns = columns
        self.rows = min(self._whole_rows(), keep_rows) if keep_rows else 0
        header = npy_header(dtype, 0, columns)
        file.seek(0)
        file.write(header)
        file.truncate(len(header) + self.rows * self._row_bytes)
        file.seek(0, os.SEEK_END)

    def append(self, values: Any) -> None:
        """Append one row or several: values [columns] or [n, columns], or [n] of single ones."""
        array = np.asarray(values, dtype=self._dtype)
        self._file.write(array.tobytes())
        self.rows += array.size if self._columns is None else array.size // self._columns

    def flush(self) -> None:
        """Hand what was appended to the system."""
        self._file.flush()

    def finish(self) -> None:
        """Write the final number of rows into the header."""
        self._file.seek(0)
        self._file.write(npy_header(self._dtype, self.rows, self._columns))
        self._file.seek(0, os.SEEK_END)
        self._file.flush()

    @property
    def _row_bytes(self) -> int:
        return self._dtype.itemsize * (1 if self._columns is None else self._columns)

    def _whole_rows(self) -> int:
        """How many rows the file has; 0 for a file of another form."""
        length = self._file.seek(0, os.SEEK_END)
        try:
            start = start_of_rows(self._file, self._dtype, self._columns)
        except ValueError:
            return 0
        return (length - start) // self._row_bytes


def npy_header(dtype: np.dtype[Any], rows: int, columns: int | None) -> bytes:
    """The header (format 1.0) of an array [rows, columns], or [rows] where columns is None.

    Its length is that for no rows; raises ValueError where the number needs more room.
    """
    empty, header = (_header(dtype, _shape(count, columns)) for count in (0, rows))
    if len(header) != len(empty):
        raise ValueError(f'{rows} rows: more than the header of a .npy file has room for')
    return header


def start_of_rows(file: BinaryIO, dtype: np.dtype[Any], columns: int | None) -> int:
    """Where the rows of a .npy file begin, in bytes.

    Raises ValueError where the file is of another form, whatever its number of rows.
    """
    file.seek(0)
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    if version != (1, 0):
        raise ValueError(f'.npy format {version}, expected 1.0')
    header: tuple[tuple[int, ...], bool, np.dtype[Any]]
    header = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
    shape, columns_first, found = header
    wanted = _shape(0, columns)
    if (found, len(shape), shape[1:], columns_first) != (dtype, len(wanted), wanted[1:], False):
        raise ValueError(f'{found} {list(shape)}, expected {dtype} rows of {columns or 1}')
    return file.tell()


def _shape(rows: int, columns: int | None) -> tuple[int, ...]:
    return (rows,) if columns is None else (rows, columns)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    text = io.BytesIO()
    entries = {'descr': dtype.str, 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(text, entries)  # type: ignore[no-untyped-call]
    return text.getvalue()
