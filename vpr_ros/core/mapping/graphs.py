"""The networks that found a map's landmarks, which the map carries.

A query must be described and matched by the very networks that described the map, and their
weights are another package's, so that a robot may not have them.
"""

import hashlib
from pathlib import Path

from vpr_ros.core.landmarks.feature_kinds import features_named
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.mapping.files import check_file, open_regular
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.layout import GRAPHS_FOLDER


def graph_digests(features: Features) -> dict[str, str]:
    """The value of `MapHeader.graphs` for a map with these landmarks."""
    return {
        GRAPHS_FOLDER + name: hashlib.sha256(graph).hexdigest()
        for name, graph in sorted(features.graphs.items())
    }


def write_graphs(folder: Path, features: Features) -> None:
    """Write the landmarks' networks into a staged map that has none."""
    for name, graph in features.graphs.items():
        path = folder / GRAPHS_FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph)


def features_of(folder: Path, header: MapHeader) -> Features:
    """The features that found the landmarks of a map that is not opened; raises MapError."""
    graphs = {}
    for name, digest in header.graphs.items():
        check_file(folder / name, digest)
        with open_regular(folder / name) as file:
            graphs[name.removeprefix(GRAPHS_FOLDER)] = file.read()
    return features_named(header.landmark_features, graphs)
