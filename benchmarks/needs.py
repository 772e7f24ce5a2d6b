"""What a robot needs: processor, memory and disk of the node with the default model.

    python benchmarks/needs.py [--map outputs/demo/map] [--seconds 15] [--copies 70]

`make demo` makes the map. The real node runs in its own process on VGA JPEGs at 10 Hz, first with
the demo's map, then with a map that holds the same places many times, on other streets. The
difference is the memory of a place. The second map has cells, but neither landmarks nor pictures:
the node reads those from the disk, one place at a time.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from inputs import ROOT
from node import Watched, latencies_ms, watching, write_bag

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.evaluating.live import LiveRun, run_live
from vpr_ros.map_care.costs import bytes_by_kind

VGA_HW = (480, 640)
RATE_HZ = 10.0
STREET_M = 500.0  # between two copies


def repeated(place_map: PlaceMap, folder: Path, copies: int) -> int:
    """Write a map with the places of another one many times; returns how many it has."""
    header = replace(place_map.header, landmark_features='', changes=())
    with build(folder, header) as writer:
        for copy in range(copies):
            for row, pose in enumerate(place_map.poses):
                moved = pose.copy()
                moved[1] += STREET_M * copy
                writer.add(
                    place_map.descriptor(row),
                    moved,
                    stamp_ns=10**9 * (1000 * copy + row),
                    name=f'{copy}_{row}',
                    cells=place_map.cells(row),
                )
        return writer.places


def run(place_map: Path, bag: Path) -> tuple[LiveRun, Watched]:
    """Play the bag into the node."""
    with watching() as watched:
        found = run_live(bag, None, {'map': str(place_map.absolute())})
    return found, watched


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--map', type=Path, default=ROOT / 'outputs/demo/map')
    parser.add_argument('--seconds', type=float, default=15.0)
    parser.add_argument('--copies', type=int, default=70)
    arguments = parser.parse_args()
    place_map = PlaceMap.open(arguments.map)
    kinds = bytes_by_kind(place_map.header, arguments.map)
    with tempfile.TemporaryDirectory() as temporary:
        bag, large = Path(temporary) / 'bag', Path(temporary) / 'map'
        write_bag(bag, VGA_HW, rate_hz=RATE_HZ, seconds=arguments.seconds, jpeg=True)
        places = repeated(place_map, large, arguments.copies)
        found, small = run(arguments.map, bag)
        _, many = run(large, bag)
    p50, p95 = np.percentile(latencies_ms(found), [50, 95])
    base_mb, large_mb = max(small.resident_mb), max(many.resident_mb)
    each_mb = 1000 * (large_mb - base_mb) / (places - len(place_map))
    answered_hz = RATE_HZ * (1 - found.dropped / found.sent)
    each_ms = 1e3 * small.cores() / answered_hz
    share = each_ms * RATE_HZ / 1e3
    print(
        f'processor             {each_ms:.0f} ms an image: {share:.2f} cores at {RATE_HZ:.0f} Hz'
    )
    print(f'publish to pose       {p50:.0f} ms, p95 {p95:.0f} ms, {found.dropped} dropped')
    print(f'memory, {len(place_map)} places    {base_mb:.0f} MB resident')
    print(f'memory, {places} places  {large_mb:.0f} MB: {each_mb:.1f} MB per 1,000 places')
    total = sum(kinds.values()) / len(place_map) / 1e3
    shown = ', '.join(f'{kind} {size / len(place_map) / 1e3:.1f}' for kind, size in kinds.items())
    print(f'disk per 1,000 places {total:.1f} MB ({shown})')


if __name__ == '__main__':
    main()
