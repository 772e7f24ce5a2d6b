"""What a map's places cost: on the disk by kind, and in the memory of the robot that serves them.

The disk is counted. Memory is arithmetic: what is read at every frame is resident, what is read
row by row is not. docs/explanation/scale.md holds it beside measured figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr_ros.core.mapping.codes import codes_pay
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.plurals import counted

MILLION = 1_000_000

STATE_BYTES = 400
"""Of a place beside its descriptor: poses, stamps, the belief's weights and its grid, measured."""

BASE_BYTES = 250_000_000
"""Of the node with a small map: ROS, the model and its buffers (213 to 221 MB, measured)."""

_KINDS = {
    'descriptors': 'descriptors',
    'codes': 'codes',
    'bytes': 'codes',
    'byte': 'codes',
    'cells': 'cells',
    'landmark': 'landmarks',
    'thumbnails': 'thumbnails',
    'thumbnail': 'thumbnails',
}
"""What a file of a part is a kind of, by the first word of its name."""

_CODE_BYTES = 68  # of a place, 128 groups of 4 bits and a scale


@dataclass(frozen=True, slots=True)
class Cost:
    """Disk and memory that a map takes."""

    places: int
    disk_bytes: int
    resident_bytes: int  # of the node, the model included


def file_sizes(header: MapHeader, folder: Path) -> dict[str, int]:
    """Bytes of a map's files by their names within a part, all parts together."""
    sizes: dict[str, int] = {}
    for name in header.files or {}:
        path = folder / name
        sizes[path.name] = sizes.get(path.name, 0) + path.stat().st_size
    return sizes


def bytes_by_kind(header: MapHeader, folder: Path) -> dict[str, int]:
    """Bytes of a map by kind, in a fixed order; what there is none of is left out."""
    found = dict.fromkeys([*_KINDS.values(), 'the rest'], 0)
    for name, size in file_sizes(header, folder).items():
        found[_KINDS.get(name.partition('_')[0].partition('.')[0], 'the rest')] += size
    return {kind: size for kind, size in found.items() if size}


def resident_bytes(part_places: Sequence[int], descriptor_size: int) -> int:
    """Memory of a node that serves a map whose parts have so many places, the model included.

    A part with codes keeps these and its bytes, another one its descriptors as float32.
    """
    each = [
        descriptor_size + _CODE_BYTES
        if codes_pay(places, descriptor_size)
        else 4 * descriptor_size
        for places in part_places
    ]
    held = sum(places * size for places, size in zip(part_places, each))
    return BASE_BYTES + held + STATE_BYTES * sum(part_places)


def cost_of_million(header: MapHeader, kinds: Mapping[str, int]) -> Cost:
    """What a million places like a map's cost, recorded in one part.

    kinds: the map's own bytes by kind. Codes are counted whether the map has some or not.
    """
    size = header.descriptor_size
    stored = sum(count for kind, count in kinds.items() if kind != 'codes')
    each = stored / header.places + size + _CODE_BYTES
    return Cost(MILLION, round(MILLION * each), resident_bytes([MILLION], size))


def available_bytes(root: Path = Path('/')) -> int | None:
    """Memory that a process of this machine can still have; None where the system does not say.

    In a container the container's limit counts, too. root: where /proc and /sys are.
    """
    limits = [_meminfo(root / 'proc/meminfo'), _left_in_container(root / 'sys/fs/cgroup')]
    return min((limit for limit in limits if limit is not None), default=None)


def unserved(
    part_places: Sequence[int],
    descriptor_size: int,
    available: int | None,
    *,
    at_most: bool = False,
) -> str | None:
    """Why this machine cannot serve a map with such parts; None where it can, or nobody knows.

    available: bytes, see available_bytes; at_most: the places are a bound, not counted.
    """
    needed = resident_bytes(part_places, descriptor_size)
    if available is None or needed <= available:
        return None
    return (
        f'a node that serves {"up to " if at_most else ""}{counted(sum(part_places), "place")} '
        f'takes about {gigabytes(needed)} of memory, '
        f'and this machine has {gigabytes(available)} left; map fewer images with --every, or '
        'serve the map on a machine with more'
    )


def gigabytes(size: float) -> str:
    """A size for people."""
    return f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'


def _meminfo(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding='ascii', errors='replace').splitlines()
        found = dict(line.split(':', 1) for line in lines if ':' in line)
        return 1024 * int(found['MemAvailable'].split()[0])
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _left_in_container(folder: Path) -> int | None:
    """What the limit of this control group (version 2) leaves; None without one."""
    try:
        most, used = (
            int((folder / name).read_text(encoding='ascii'))
            for name in ('memory.max', 'memory.current')
        )
    except (OSError, ValueError):  # `max` is no number: there is no limit
        return None
    return max(most - used, 0)
