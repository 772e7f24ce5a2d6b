"""Tell by its files which layout a folder has."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from vpr_ros.core.names import as_text
from vpr_training.basics.errors import DatasetError
from vpr_training.data import (
    gsv_cities,
    gsv_xs,
    image_folder,
    own_drive,
    place_table,
    truth_table,
    utm_names,
)
from vpr_training.data.config import DataConfig
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet

SPLITS = ('train', 'val', 'test')


class _Read(Protocol):
    def __call__(self, folder: Path, *, radius_m: float | None) -> RecallSet: ...


# A table of truth is asked for first: it is somebody's explicit word.
_LAYOUTS: tuple[tuple[str, Callable[[Path], bool], _Read], ...] = (
    (
        'gt.csv with database/ and queries/, or with images/',
        truth_table.recognizes,
        truth_table.read,
    ),
    ('database/ and queries/ with @utm@ names', utm_names.recognizes, utm_names.read),
)


class _ReadHeldOut(Protocol):
    def __call__(self, root: Path, config: DataConfig, *, radius_m: float) -> RecallSet: ...


class _Layout(NamedTuple):
    """A layout of training sets; only those whose places follow a route have a held-out part."""

    files: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, DataConfig], PlaceSet]
    read_held_out: _ReadHeldOut | None = None


# The own drive comes last: other layouts may lie beside recordings.
_TRAINING = (
    _Layout('places.csv', place_table.recognizes, place_table.read, place_table.read_held_out),
    _Layout('Dataframes/ and Images/ (GSV-Cities)', gsv_cities.recognizes, gsv_cities.read),
    _Layout('train/<City>/@...@.jpg (GSV-XS)', gsv_xs.recognizes, gsv_xs.read),
    _Layout(
        'a bag, a posed folder, or a folder of those',
        own_drive.recognizes,
        own_drive.read,
        own_drive.read_held_out,
    ),
)


def open_places(config: DataConfig) -> PlaceSet:
    """Read a training set of any known layout at data.root; raises DatasetError.

    With one image of a place in a batch, no layout is asked for: it is a folder of images.
    """
    if not config.root:
        raise DatasetError('data.root: not given; it is the folder or bag to train on')
    root = Path(config.root)
    if not root.exists():
        raise DatasetError(f'{root}: no such file or folder')
    if config.images_per_place == 1:
        if config.held_out:
            raise _no_route(root)
        return image_folder.read(root, config)
    layout = _training_layout(root)
    if config.held_out and layout.read_held_out is None:
        raise _no_route(root)
    return layout.read(root, config)


def open_held_out(config: DataConfig, *, radius_m: float) -> RecallSet:
    """The part of the training set at data.root that data.held_out keeps out.

    Raises DatasetError. radius_m: how far from a query of a drive an answer is right; 0:
    data.place_radius.
    """
    root = Path(config.root)
    read = _training_layout(root).read_held_out
    if read is None:
        raise _no_route(root)
    return read(root, config, radius_m=radius_m)


def _training_layout(root: Path) -> _Layout:
    for layout in _TRAINING:
        if layout.recognizes(root):
            return layout
    looked_for = '; '.join(layout.files for layout in _TRAINING)
    raise DatasetError(f'{root}: not a known training set, expected {looked_for}')


def _no_route(root: Path) -> DatasetError:
    return DatasetError(
        f'{root}: data.held_out needs places in the order of a route (a drive or places.csv); '
        'set data.held_out to 0 and give validation.roots'
    )


def trains(folder: Path) -> bool:
    """Whether a folder can be trained on."""
    return any(layout.recognizes(folder) for layout in _TRAINING)


def open_recall_set(
    folder: Path, *, radius_m: float | None = None, split: str | None = None
) -> RecallSet:
    """Read an evaluation set of any known layout, or one split of a tree of them.

    Raises DatasetError naming the layouts that were looked for.

    radius_m: how far from the query an answer is right, where positions are known; None: the
    layout's own. split: train, val or test of a tree; None: the only one there is.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such folder')
    if split is None:
        for _, recognizes, read in _LAYOUTS:
            if recognizes(folder):
                found = read(folder, radius_m=radius_m)
                return replace(found, name=_name(folder) or found.name)
    splits = _splits(folder)
    if split is None and len(splits) > 1:
        raise DatasetError(f'{folder}: has {", ".join(splits)}; choose one with --split')
    if split is not None and split not in splits:
        raise DatasetError(
            f'{folder}: no {split}/ or images/{split}/ with database/ and queries/ in it; '
            f'found {", ".join(splits) or "none of " + ", ".join(SPLITS)}'
        )
    if splits:
        chosen = next(path for name, path in splits.items() if split in (None, name))
        return open_recall_set(chosen, radius_m=radius_m)
    looked_for = '; '.join(layout for layout, _, _ in _LAYOUTS)
    raise DatasetError(
        f'{folder}: not a known evaluation set, expected {looked_for}; '
        f'or one of {", ".join(SPLITS)} in it or in its images/'
    )


def _name(folder: Path) -> str:
    """The name of a tree's split, such as `sf_xs val`, by which two trees differ; else empty."""
    there = folder.resolve()
    tree = there.parent.parent if there.parent.name == 'images' else there.parent
    return as_text(f'{tree.name} {there.name}') if there.name in SPLITS else ''


def _splits(folder: Path) -> dict[str, Path]:
    """The evaluation sets of a tree `images/{train,val,test}` or `{train,val,test}`, by split."""
    found: dict[str, Path] = {}
    for name in SPLITS:
        for path in (folder / 'images' / name, folder / name):
            if any(recognizes(path) for _, recognizes, _ in _LAYOUTS):
                found.setdefault(name, path)
    return found
