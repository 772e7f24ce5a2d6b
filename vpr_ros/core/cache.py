"""Where files are kept that can be made again at any time, and what they were made of."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from vpr_ros.core.errors import ConfigError


def cache_folder(name: str) -> Path:
    """A folder in the user's cache: $XDG_CACHE_HOME, else ~/.cache. It need not exist.

    A relative $XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification says. Raises
    ConfigError where the user has no home, as in a container with an unknown user.
    """
    given = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if given.is_absolute():
        return given / name
    try:
        return Path.home() / '.cache' / name
    except RuntimeError as error:
        raise ConfigError(
            'this user has no home folder; set XDG_CACHE_HOME to a folder for files that can be '
            'made again'
        ) from error


def files_digest(paths: Iterable[Path]) -> str:
    """Hex digest of files' paths, sizes and times of change; raises OSError.

    It tells whether what was made of the files still holds, and reads none of them.
    """
    digest = hashlib.sha256()
    for path in paths:
        found = path.stat()
        digest.update(os.fsencode(path.absolute()))  # a name need not be text
        digest.update(f'\0{found.st_size}\0{found.st_mtime_ns}\n'.encode())
    return digest.hexdigest()
