"""Where files are kept that can be made again at any time, and what they were made of."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder in the user's cache: $XDG_CACHE_HOME, else ~/.cache. It need not exist."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / name


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
