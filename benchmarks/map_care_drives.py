"""What `map check` and `map prune` make of real maps: the table of docs/results/map-care.md.

    python benchmarks/map_care_drives.py [--data ../shared/data]

Maps are made by build_map from the demo's drives and from the sets of images that are sequences,
image k at k metres, and looked after by the commands themselves. All by the fp32 graph.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from driven import RADII_M
from inputs import ROOT, add_data_argument

from vpr_ros import build_map
from vpr_ros import map as map_command

DEMO = ROOT / 'demo' / 'drives'
CHECKED = ('corridor', 'gardenspoint_thumb', 'nordland_64x32')
PRUNED = ('gardenspoint_thumb', 'corridor')
FP32 = ('--precision', 'fp32')


def said(command: Callable[[Sequence[str]], int], *arguments: object) -> str:
    """What a command prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command([str(argument) for argument in arguments])
    if status == 2:
        raise RuntimeError(err.getvalue())
    return out.getvalue().rstrip()


def posed(images: Path, folder: Path) -> Path:
    """A folder of images as a posed folder along x."""
    (folder / 'images').mkdir(parents=True)
    rows = ['image,stamp_s,x,y,z,qx,qy,qz,qw']
    for number, file in enumerate(sorted(images.iterdir())):
        name = f'{number:06d}{file.suffix}'
        shutil.copy(file, folder / 'images' / name)
        rows.append(f'{name},{number / 8},{number},0,0,0,0,0,1')
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    return folder


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_data_argument(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(arguments.data, work)


def run(data: Path, work: Path) -> None:
    """All rows, printed as they come."""

    def built(name: str, drive: Path) -> Path:
        said(build_map.main, '--bag', drive, '--output', work / name, *FP32)
        return work / name

    def titled(title: str, text: str) -> None:
        print(f'{title}\n{text}\n', flush=True)

    both = built('both', DEMO / 'day')
    said(map_command.main, 'append', both, '--bag', DEMO / 'dusk', *FP32)
    titled('day and dusk of the demo: map check', said(map_command.main, 'check', both))
    drives = {
        (name, part): posed(data / name / part, work / f'{name}-{part}')
        for name in CHECKED
        for part in ('database', 'queries')
        if (data / name / part).is_dir()
    }
    maps = {
        name: built(name, drives[name, 'database'])
        for name in CHECKED
        if (name, 'database') in drives
    }
    for name, folder in maps.items():
        titled(f'{name}: map check', said(map_command.main, 'check', folder))
    twice = built('twice', DEMO / 'day')
    said(map_command.main, 'append', twice, '--bag', DEMO / 'day', *FP32)
    pruned = said(map_command.main, 'prune', twice, '--bag', DEMO / 'dusk', *FP32)
    titled('day, appended once more: map prune, queries at dusk', pruned)
    for name in PRUNED:
        if name in maps:
            limits = ('--distance', 3, '--similarity', 0.8, '--radius', RADII_M[name])
            asked = ('--bag', drives[name, 'queries'])
            pruned = said(map_command.main, 'prune', maps[name], *asked, *limits, *FP32)
            titled(f'{name}: map prune {" ".join(map(str, limits))}', pruned)


if __name__ == '__main__':
    main()
