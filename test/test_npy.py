"""A .npy file grows row by row, is gone on with after a kill, and is what numpy itself writes."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.npy import NpyWriter, npy_header, start_of_rows

DTYPES = [np.dtype(name) for name in ('<f4', '<f8', '<i8', '<f2', 'u1')]
ROW = np.dtype('<f4')


@given(
    st.sampled_from(DTYPES),
    st.one_of(st.none(), st.integers(1, 20_000)),
    st.integers(0, 10**9),
)
def test_a_header_is_as_long_for_any_number_of_rows(
    dtype: np.dtype, columns: int | None, rows: int
) -> None:
    assert len(npy_header(dtype, rows, columns)) == len(npy_header(dtype, 0, columns))


@given(
    st.sampled_from(DTYPES),
    st.one_of(st.none(), st.integers(1, 7)),
    st.lists(st.integers(0, 5), max_size=5),
)
def test_appended_rows_are_the_bytes_that_numpy_saves(
    dtype: np.dtype, columns: int | None, counts: list[int]
) -> None:
    total = sum(counts)
    rows = np.arange(total * (columns or 1)).reshape((total, columns) if columns else total)
    file = io.BytesIO()
    writer = NpyWriter(file, dtype, columns)
    for start, count in zip(np.cumsum([0, *counts]), counts):
        writer.append(rows[start : start + count])
    writer.finish()
    saved = io.BytesIO()
    np.save(saved, rows.astype(dtype))
    assert writer.rows == total
    assert file.getvalue() == saved.getvalue()


def test_a_single_row_may_be_appended_as_it_is() -> None:
    file = io.BytesIO()
    writer = NpyWriter(file, ROW, 3)
    writer.append(np.array([1, 2, 3]))
    writer.append(np.ones((2, 3)))
    writer.finish()
    file.seek(0)
    np.testing.assert_array_equal(np.load(file)[:, 0], [1, 1, 1])
    assert writer.rows == 3


def test_a_finished_file_is_read_while_it_is_open_and_can_grow(tmp_path: Path) -> None:
    path = tmp_path / 'rows.npy'
    with path.open('wb') as file:
        writer = NpyWriter(file, ROW, 2)
        for last in (1, 2, 3):
            writer.append(np.full(2, last))
            writer.finish()
            found = np.load(path, allow_pickle=False)
            np.testing.assert_array_equal(found[:, 0], range(1, last + 1))


def test_a_number_of_rows_that_the_header_has_no_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match='more than the header'):
        npy_header(ROW, 10**100, 2)


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """Three rows and a half, as a kill leaves them."""
    path = tmp_path / 'rows.npy'
    with path.open('wb') as file:
        NpyWriter(file, ROW, 4).append(np.arange(12).reshape(3, 4))
        file.write(b'half row')
    return path


def test_after_a_kill_the_whole_rows_are_kept_and_the_rest_follows(cut: Path) -> None:
    with cut.open('r+b') as file:
        writer = NpyWriter(file, ROW, 4, keep_rows=10)
        assert writer.rows == 3
        writer.append(np.full(4, 7))
        writer.finish()
    expected = np.vstack([np.arange(12).reshape(3, 4), np.full(4, 7)])
    np.testing.assert_array_equal(np.load(cut, allow_pickle=False), expected)


def test_a_finished_file_can_be_gone_on_with_and_rows_beyond_the_most_are_cut(cut: Path) -> None:
    for most in (3, 2):
        with cut.open('r+b') as file:
            writer = NpyWriter(file, ROW, 4, keep_rows=most)
            assert writer.rows == most
            writer.finish()
        assert np.load(cut, allow_pickle=False).shape == (most, 4)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'no array',
        b'\x93NUMPY\x01\x00\xff\xff{',
        npy_header(ROW, 0, 5) + bytes(40),
        npy_header(ROW, 0, None) + bytes(40),
        npy_header(np.dtype('<f8'), 0, 4) + bytes(64),
        npy_header(ROW, 3, 4).replace(b"order': False", b"order': True ") + bytes(48),
    ],
)
def test_a_file_of_another_form_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'rows.npy'
    path.write_bytes(content)
    with path.open('r+b') as file:
        with pytest.raises(ValueError):
            start_of_rows(file, ROW, 4)
        writer = NpyWriter(file, ROW, 4, keep_rows=10)
        assert writer.rows == 0
        writer.append(np.ones(4))
        writer.finish()
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), np.ones((1, 4)))
