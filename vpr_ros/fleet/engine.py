"""The only module that imports LanceDB.

It does so when a store is opened, because a robot without the extra has no LanceDB, and because
the library ends the process (SIGILL) on a processor without AVX2. Errors of the library become
FleetError, without secrets. Two kinds have classes of their own, because they matter to the
caller: another program changed the table meanwhile, and there is no such table.
"""

import importlib
import os
import platform
import random
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vpr_ros.core.errors import FleetError, VprError
from vpr_ros.core.mapping.writer import MAP
from vpr_ros.core.processor import Processor, this_processor
from vpr_ros.core.writer_lock import only_writer
from vpr_ros.fleet.address import checked_address, has_scheme, without_secrets

if TYPE_CHECKING:
    import pyarrow as pa

Value = TypeVar('Value')

MOST_ATTEMPTS = 8
"""To commit where others commit too."""

RESTORE = 'restore the store from a copy, or push the maps to another fleet'
"""What to do about a damaged store. To push again does not help: the part is listed already."""

_CONFLICT = re.compile(r'conflict|incompatible transaction|concurrent', re.I)
_EXISTS = re.compile(r'already exists', re.I)
_MISSING = re.compile(r'was not found|does not exist|no longer exists', re.I)
_ANSWER = re.compile(r'<Message>([^<]+)</Message>')  # of S3, in the midst of a request's details
_OF_THE_SYSTEM = re.compile(r'(?:\(os error |\bOs \{ code: )(\d{1,3})\b')
_LAST_VERSION = 2**63 - 1  # more than it counts to
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_EXTRA = "pip install 'vpr_ros[fleet]'"
_WITH_NUMPY_1 = "pip install 'pyarrow<26', newer ones need numpy 2"


class ConflictError(FleetError):
    """Another program changed the table at the same time."""


class MissingTableError(FleetError):
    """There is no such table, or no such version of it."""


def require_processor(processor: Processor, *, machine: str) -> None:
    """Raise FleetError where the library would end the process at its first instruction.

    machine: the processor's architecture, as `platform.machine` says it.
    """
    abilities = processor.abilities
    if machine in ('x86_64', 'AMD64') and abilities and 'avx2' not in abilities:
        raise FleetError(
            'this processor has no AVX2, and the engine of the fleet (lancedb) needs it; '
            'push and pull on another computer'
        )


def arrow() -> Any:
    """The module pyarrow; raises FleetError where the extra is not installed."""
    return _imported('pyarrow')


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        step = _WITH_NUMPY_1 if 'NumPy 2' in str(error) else _EXTRA  # in pyarrow's words
        raise FleetError(f'{name} cannot be imported ({error}); {step}') from error


def ask(what: str, call: Callable[[], Value], *, reads: bool = False) -> Value:
    """What the engine answers; its errors become FleetError that says `what` failed.

    reads: the call reads what is stored, so that the error may come from a damaged file.
    """
    try:
        return call()
    except VprError:
        raise
    except Exception as error:  # the library raises ValueError, RuntimeError and OSError alike
        said = str(error)
        kind = _kind(said)
        is_damaged = reads and kind is FleetError and not _OF_THE_SYSTEM.search(said)
        step = f'; if it stays so, {RESTORE}' if is_damaged else ''
        raise kind(f'{what}: {_first_sentence(said)}{step}') from error


def _kind(said: str) -> type[FleetError]:
    if _MISSING.search(said):
        return MissingTableError
    return ConflictError if _CONFLICT.search(said) or _EXISTS.search(said) else FleetError


def _first_sentence(said: str) -> str:
    """What the system or object storage answered, or else all but the place in the source."""
    if found := _OF_THE_SYSTEM.search(said):
        return os.strerror(int(found[1]))
    answer = _ANSWER.search(said)
    cleaned = without_secrets(answer[1] if answer else said)
    return cleaned.partition(', /')[0].removeprefix('lance error: ')[:500]


def insistently(what: str, attempt: Callable[[], Value]) -> Value:
    """Try again, a bounded number of times, while others change the table.

    attempt: reads the newest state and commits. Raises FleetError after the last one.
    """
    pause_s = _FIRST_PAUSE_S
    for _ in range(MOST_ATTEMPTS - 1):
        try:
            return attempt()
        except ConflictError:
            time.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    try:
        return attempt()
    except ConflictError as error:
        raise FleetError(
            f'{what}: other programs kept writing to the fleet, so this one gave up after '
            f'{MOST_ATTEMPTS} tries; nothing was changed; try again'
        ) from error


class Database:
    """The tables of one store."""

    def __init__(self, address: str) -> None:
        """Nothing is written; raises FleetError for a bad address and without the library."""
        self.address = checked_address(address)
        self._folder = None if has_scheme(address) else _folder(address)
        require_processor(this_processor(), machine=platform.machine())
        self._lancedb = _imported('lancedb')
        self._database: Any = None
        if self._folder is None or self._is_there(self._folder):
            self._connect()

    def _is_there(self, folder: Path) -> bool:
        """Whether the store's folder is there; raises FleetError where it cannot be one."""
        try:
            is_folder = stat.S_ISDIR(folder.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise FleetError(
                f'{self.address}: cannot be read ({error.strerror or error})'
            ) from error
        if not is_folder:
            raise FleetError(
                f'{self.address}: a file, expected the folder of a store; give another --fleet'
            )
        return True

    def _connect(self) -> None:
        """Let the library open the store; it would make a folder that is not there.

        The library keeps `memory:x` in memory alone. A path from the root it takes for a folder.
        """
        where = self.address if self.folder is None else str(self.folder)
        self._database = ask(self.address, lambda: self._lancedb.connect(where))

    @property
    def folder(self) -> Path | None:
        """The folder of this computer's file systems, without links; None for object storage."""
        return None if self._folder is None else Path(os.path.realpath(self._folder))

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Be the one program that makes a table, until the block ends; in folders alone.

        Another one is waited for. Raises OSError where the folder cannot be written.
        """
        folder = self._folder
        if folder is None:
            yield
            return
        if (around := MAP.around(folder)) is not None:
            where = 'a map' if around == self.folder else f'within a map, {around}'
            raise FleetError(
                f'{folder}: {where}, expected the folder of a store; give another --fleet'
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._connect()
        with only_writer(folder / f'{name}.lance', waits=True):
            yield

    def table(self, name: str) -> 'Table':
        """A table, newest version; raises MissingTableError."""
        where = f'{self.address}/{name}'
        if self._database is None:
            raise MissingTableError(f'{where}: there is no such folder')
        return Table(where, ask(where, lambda: self._database.open_table(name), reads=True))

    def create(self, name: str, schema: 'pa.Schema', batches: Iterator['pa.RecordBatch']) -> None:
        """Make a table with all batches in one commit, taking one after the other.

        An error of `batches` comes out as it is, and there is no table then. Raises ConflictError
        where the table is there. But the library looks for it first and makes it later, in place
        of what another program has made in between: the caller must see to it that both would
        make the same, or that there is no other.
        """
        _streamed(
            self.address,
            schema,
            batches,
            lambda reader: self._database.create_table(name, reader, schema=schema),
        )


class Table:
    """One table at one version."""

    def __init__(self, where: str, table: Any) -> None:
        """Use Database.table."""
        self.where = where
        self._table = table

    @property
    def schema(self) -> 'pa.Schema':
        """Columns, and the notes that were given when the table was made."""
        return ask(self.where, lambda: self._table.schema)

    @property
    def version(self) -> int:
        """Number of the version that is open."""
        return int(ask(self.where, lambda: self._table.version))

    def at(self, version: int) -> 'Table':
        """The same table at one version, for reading; raises MissingTableError."""
        if version > _LAST_VERSION:  # the library would say which types it has
            raise MissingTableError(f'{self.where}: no version {version}')
        ask(self.where, lambda: self._table.checkout(version))
        return self

    def versions(self) -> list[tuple[int, str]]:
        """Numbers and times of all versions, oldest first."""
        found = ask(self.where, lambda: self._table.list_versions())
        times = [(int(one['version']), one['timestamp'].astimezone()) for one in found]
        return [(version, at.isoformat(timespec='seconds')) for version, at in sorted(times)]

    def add(self, schema: 'pa.Schema', batches: Iterator['pa.RecordBatch']) -> None:
        """Append all batches in one commit, taking one after the other.

        An error of `batches` comes out as it is, and nothing is appended.
        """
        _streamed(self.where, schema, batches, self._table.add)

    def restore(self, version: int) -> None:
        """Make a new version that equals an older one."""
        ask(self.where, lambda: self._table.restore(version))

    def rows(self, columns: list[str]) -> Iterator['pa.RecordBatch']:
        """Some columns of all rows, and `_rowid`, in batches; in any order."""
        found = ask(
            self.where,
            lambda: self._table.search().select(columns).with_row_id(True).to_batches(8192),
            reads=True,
        )
        batches = iter(found)
        while (batch := ask(self.where, lambda: next(batches, None), reads=True)) is not None:
            yield batch

    def take(self, row_ids: list[int], columns: list[str]) -> 'pa.Table':
        """Rows by `_rowid`, in that order."""
        return ask(
            self.where,
            lambda: self._table.take_row_ids(row_ids).select(columns).to_arrow(),
            reads=True,
        )


def _folder(address: str) -> Path:
    """The folder that an address names; `~` is the home of the user."""
    try:
        return Path(address).expanduser()
    except RuntimeError:  # no such user
        return Path(address)


def _streamed(
    what: str,
    schema: 'pa.Schema',
    batches: Iterator['pa.RecordBatch'],
    write: Callable[[Any], Any],
) -> None:
    """Let the engine take batches; an error of theirs comes out as it is."""
    failed: list[BaseException] = []

    def guarded() -> Iterator['pa.RecordBatch']:
        try:
            yield from batches
        except BaseException as error:
            failed.append(error)
            raise

    reader = arrow().RecordBatchReader.from_batches(schema, guarded())
    try:
        ask(what, lambda: write(reader))
    except FleetError:
        if failed:
            raise failed[0] from None
        raise
