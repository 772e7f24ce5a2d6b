"""The kinds of features that landmarks may have, by the names that maps and commands know."""

from collections.abc import Mapping

from vpr_ros.core.errors import MapError, ModelError
from vpr_ros.core.landmarks.features import CellFeatures, Features, SiftFeatures
from vpr_ros.core.landmarks.xfeat import MATCHER_NAME, NETWORK_NAME, XFeatFeatures

GRAPHS_OF_KIND: dict[str, tuple[str, ...]] = {
    'cells': (),
    'sift': (),
    'xfeat': (NETWORK_NAME,),
    'xfeat-lighterglue': (NETWORK_NAME, MATCHER_NAME),
}
"""What commands call a kind, and the ONNX files that it runs."""

_KIND_OF_NAME = {SiftFeatures.name: 'sift'} | {kind: kind for kind in GRAPHS_OF_KIND}


def size_without_networks(name: str) -> int | None:
    """F of a kind by its name in a map; None if it runs networks or is unknown."""
    kind = _KIND_OF_NAME.get(name)
    if kind is None or GRAPHS_OF_KIND[kind]:
        return None
    return features_named(name, {}).descriptor_size


def features_named(name: str, graphs: Mapping[str, bytes]) -> Features:
    """The features by their name in a map, or of a command, with a map's ONNX files.

    Raises MapError for a kind that this program does not have, or whose files cannot be used.
    """
    kind = _KIND_OF_NAME.get(name)
    if kind is None:
        raise MapError(
            f'landmarks of kind {name!r}, but this program knows {", ".join(GRAPHS_OF_KIND)}; '
            'rebuild the map with build_map --landmarks'
        )
    if kind == 'cells':
        return CellFeatures()
    if kind == 'sift':
        return SiftFeatures()
    try:
        return XFeatFeatures(
            {graph: graphs[graph] for graph in GRAPHS_OF_KIND[kind] if graph in graphs}
        )
    except ModelError as error:
        raise MapError(f'landmarks of {name!r}: {error}') from error
