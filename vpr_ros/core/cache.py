"""Where files are kept that can be made again at any time."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder in the user's cache: $XDG_CACHE_HOME, else ~/.cache. It need not exist."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / name
