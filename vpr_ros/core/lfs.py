"""Tell a Git LFS pointer from the file that it stands for.

A repository that was cloned without Git LFS has a few lines of text where bags, models, images and
checkpoints should be. What reads them calls these lines damaged, and advises against the damage.
"""

from pathlib import Path

_FIRST_LINES = (b'version https://git-lfs.github.com/spec/', b'version https://hawser.github.com/')
_LARGEST = 1024  # bytes of a pointer, by Git LFS's specification

LFS_ADVICE = 'is a Git LFS pointer; run `git lfs pull`'
"""What is to be said of such a file, behind its path."""


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file holds a Git LFS pointer; a file that cannot be read holds none."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return False
        with path.open('rb') as file:
            return is_lfs_content(file.read(_LARGEST))
    except OSError:
        return False


def is_lfs_content(content: bytes) -> bool:
    """Whether bytes begin as a Git LFS pointer does."""
    return content.lstrip().startswith(_FIRST_LINES)
