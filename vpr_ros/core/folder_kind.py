"""Folders of one kind, such as maps: what they may replace, and how a failure is told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vpr_ros.core.atomic import require_writable, staged_folder, unwritable_as
from vpr_ros.core.writer_lock import real_path


@dataclass(frozen=True, slots=True)
class FolderKind:
    """Folders of one kind, such as maps: what they may replace, and how a failure is told."""

    mark: str  # the file that each of them has
    name: str  # for people, with its article
    error: type[Exception]  # where one cannot be written
    content: tuple[str, ...]  # patterns of the other names in them; each has one at least

    @contextmanager
    def staged(self, target: Path) -> Iterator[Path]:
        """As `staged_folder`; raises `error` where it raises OSError, and as `require_place`."""
        with unwritable_as(self.error, target):
            self._require_own(target)
            with staged_folder(target) as staging:
                yield staging

    def require_place(self, target: Path) -> None:
        """Raise `error` where no folder of this kind can be written; to be asked before long work.

        Nothing, an empty folder and a folder of this kind may be replaced, unless it has something
        else in it, which would be lost. Nor may one lie within another, because that one is
        replaced as a whole. Nothing is changed.
        """
        with unwritable_as(self.error, target):
            self._require_own(target)
            if real_path(target).parent.is_dir():
                with suppress(_AbandonedError), staged_folder(target):
                    raise _AbandonedError
            else:
                require_writable(real_path(target))

    def _require_own(self, target: Path) -> None:
        is_folder = target.is_dir()
        if target.exists() and not self._is_own(target) and not (is_folder and _is_empty(target)):
            raise self.error(
                f'{target}: exists and is not {self.name}; give a new folder, or {self.name} to '
                'replace'
            )
        if is_folder and (others := [one for one in _kept_in(target) if not self._has(one)]):
            raise self.error(
                f'{target}: would be replaced as a whole, and {others[0]} in it does not belong '
                f'to {self.name}; move it to another folder first'
            )
        if (above := self.around(real_path(target).parent)) is not None:
            raise self.error(
                f'{target}: lies within {self.name}, {above}, which is replaced as a whole when '
                'it changes; give a folder outside of it'
            )

    def around(self, path: Path) -> Path | None:
        """The folder of this kind that a path is or lies within; None where there is none."""
        path = real_path(path)
        return next((one for one in (path, *path.parents) if self._is_own(one)), None)

    def _is_own(self, folder: Path) -> bool:
        """Whether a folder is of this kind; what else is in it does not matter."""
        return (folder / self.mark).is_file() and any(
            one.name != self.mark and self._has(one.name) for one in folder.iterdir()
        )

    def _has(self, name: str) -> bool:
        """Whether a folder of this kind has such a name in it."""
        return any(fnmatchcase(name, one) for one in (self.mark, *self.content))


class _AbandonedError(Exception):
    """Raised inside a staged folder that was made only to see whether that works."""


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def _kept_in(folder: Path) -> list[str]:
    """What a person may have put into a folder, sorted: without the files that programs hide."""
    with os.scandir(folder) as entries:
        return sorted(
            one.name
            for one in entries
            if not one.name.startswith('.')
            or (one.is_dir(follow_symlinks=False) and any(Path(one).iterdir()))  # such as .git
        )
