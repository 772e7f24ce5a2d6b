"""The models that come with the package.

They are found beside the source tree, in a ROS install, or in a pip install.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vpr_ros.core.describing.model import CARD_NAME, read_card
from vpr_ros.core.errors import MapError, ModelError, VprError

DEFAULT_MODEL = 'lite0-vlad'
"""Name of the shipped model that commands take when none is given."""


def share_folders() -> Iterator[Path]:
    """Folders that may hold launch/, config/ and models/.

    The source tree comes first, then installed ones. pip installs into PREFIX/lib/pythonX.Y/ and
    PREFIX/share/, where PREFIX is not that of the interpreter for a user's own packages
    (~/.local), and for those that do not belong to Debian (/usr/local).
    """
    home = Path(__file__).resolve().parents[3]
    yield home
    others = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)), sys.prefix]
    is_installed = home.name in ('site-packages', 'dist-packages')
    own = [home, *list(home.parents)[2:3]] if is_installed else [home]  # or pip install --target
    for prefix in dict.fromkeys([*own, *map(Path, others)]):
        yield prefix / 'share' / 'vpr_ros'


def default_model() -> Path:
    """Folder of the shipped default model; raises ModelError where the installation lacks it."""
    for folder in _model_folders():
        if folder.name == DEFAULT_MODEL:
            return folder
    raise ModelError(
        f'no shipped model {DEFAULT_MODEL} in {", ".join(map(str, share_folders()))}; '
        'give --model FOLDER, or install the package again'
    )


def shipped_graphs(names: Sequence[str]) -> dict[str, bytes]:
    """The networks of landmarks' features by their file names.

    Raises ModelError that tells how to make them: they come from another package's weights.
    """
    found = {}
    for name in names:
        paths = [share / 'models' / 'xfeat' / name for share in share_folders()]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ModelError(
                f'{paths[0]}: this file does not exist; make it once, on a computer with torch: '
                '`pip install -r requirements/xfeat.txt` and `python -m '
                'vpr_training.export_xfeat --output models/xfeat`'
            )
        found[name] = path.read_bytes()
    return found


def model_that_made(name: str, sha256: str) -> Path:
    """Folder of the shipped model with the name and digest that a map gives.

    Raises MapError where none has it.
    """
    for folder in _model_folders():
        try:
            if read_card(folder / CARD_NAME).reads_maps_of(sha256):
                return folder
        except VprError:
            continue
    raise MapError(
        f'the map was made with model {name} ({sha256[:12]}), which is not a shipped model of '
        'this version; give its folder with the parameter `model`, or --model, or build the map '
        'anew'
    )


def shipped_models() -> str:
    """Where the shipped models are and what they are called, as the end of a message."""
    folders = list(_model_folders())
    names = [folder.name for folder in folders if folder.parent == folders[0].parent]
    return f'shipped in {folders[0].parent}: {", ".join(names)}' if names else 'none is shipped'


def _model_folders() -> Iterator[Path]:
    for share in share_folders():
        yield from sorted(path.parent for path in share.glob(f'models/*/{CARD_NAME}'))
