"""What is wrong with a bag that cannot be opened, and what to do about just that.

The readers report details, such as a wrong magic number or a missing key. Advice by the suffix of
the file would not help somebody whose file is empty, of another kind, or a Git LFS pointer.
"""

from pathlib import Path

from rosbags.highlevel.anyreader import AnyReaderError
from rosbags.rosbag1 import ReaderError as Ros1Error
from rosbags.rosbag2 import ReaderError as Ros2Error

from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer

RECOVERY = {
    '.bag': 'try `rosbag reindex`',
    '.mcap': 'try `mcap recover`',
    '.db3': 'try `sqlite3 FILE .recover`, then `ros2 bag reindex`',
}
"""What may help if only a part of a bag is there."""

_BAGS = {b'\x89MCAP0\r\n': '.mcap', b'SQLite format 3\0': '.db3', b'#ROSBAG V2.0': '.bag'}
_OTHERS = {
    b'#ROSBAG V1': 'is a ROS 1 bag of an old version; `rosbag migrate` makes a newer one',
    b'\x28\xb5\x2f\xfd': 'is compressed with zstd; unpack it with `zstd -d`',
    b'\x1f\x8b': 'is compressed with gzip; unpack it with `gunzip`',
    b'PK\x03\x04': 'is a zip archive; unpack it',
    b'<': 'is a web page, not a bag; download the bag again',
    b'{': 'is JSON, not a bag; download the bag again',
}
_OF_SUFFIX = {'.bag': 'a ROS 1 bag', '.mcap': 'an mcap', '.db3': 'an sqlite3 bag'}


def diagnosis(path: Path, error: Exception) -> str:
    """One sentence with a next step about a bag's file or folder that a reader refused."""
    if path.is_dir():
        return f'{sentence(error)}; {_step_of_folder(error)}'
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            start = file.read(64)
    except OSError as failure:
        return f'cannot be opened ({failure.strerror or failure})'
    if is_lfs_pointer(path):
        return LFS_ADVICE
    if size == 0:
        return 'is empty; record it or copy it again'
    kind = next((suffix for magic, suffix in _BAGS.items() if start.startswith(magic)), None)
    if kind is not None and kind != path.suffix:
        return f'is {_OF_SUFFIX[kind]} by its content; rename it to end in {kind}'
    if kind is None:
        for magic, said in _OTHERS.items():
            if start.lstrip().startswith(magic):
                return said
        expected = _OF_SUFFIX.get(path.suffix, 'a bag')
        return f'is not {expected}, it begins with {start[:8]!r}; copy or download it again'
    return f'{sentence(error)}; {RECOVERY.get(kind, "record it again")}'


def sentence(error: Exception) -> str:
    """What a reader said, without line breaks; its bare keys and numbers tell nobody anything."""
    text = ' '.join(str(error).split()).rstrip('.')
    if text and isinstance(error, (AnyReaderError, Ros1Error, Ros2Error, OSError)):
        return text
    if text and type(error).__module__.partition('.')[0] not in ('builtins', 'struct'):
        return text
    return 'it is damaged'  # a bare assertion or key of the reader


def _step_of_folder(error: Exception) -> str:
    text = str(error)
    if 'not supported' in text:
        return 'convert it with `ros2 bag convert` to mcap without compression'
    if 'missing' in text:
        return 'restore them, or run `ros2 bag reindex` for the files that are there'
    return 'try `ros2 bag reindex`'
