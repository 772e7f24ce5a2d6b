"""A folder of images about which nothing is known: each one is a place of its own.

For training that needs no labels. Posed folders and the folders of data sets are such folders too.
"""

from pathlib import Path

from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.files import list_images, others_in
from vpr_training.data.places import Listed, PlaceSet


def read(folder: Path, config: DataConfig) -> PlaceSet:
    """All images in a folder and its sub-folders; raises DatasetError.

    config.cities: only these sub-folders of the first level.
    """
    images = [path.relative_to(folder) for path in list_images(folder)]
    if missing := sorted(set(config.cities) - {path.parts[0] for path in images}):
        raise DatasetError(f'{folder}: has no images in {missing[0]}')
    return PlaceSet.of(
        folder,
        [
            Listed(str(path), str(path), path.parts[0] if len(path.parts) > 1 else '')
            for path in images
        ],
        min_images=1,
        cities=config.cities,
        left_out=others_in(folder),
    )
