"""All speed benchmarks as one table, on the terminal and in docs/results/performance.md.

    make bench [ARGS='--quick --only node throughput']

Each runs in its own process, so that one that fails does not take the others along. With --only,
the sections of these parts are exchanged on the page, each with a line that says where and when it
was measured; the other sections stay. One that fails leaves what was there.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from sections import Section
from tqdm import tqdm

from vpr_ros.core.plurals import counted
from vpr_ros.core.processor import this_processor

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / 'docs/results/performance.md'
PARTS = ('describing', 'index', 'scale', 'node', 'throughput', 'engines', 'fleet', 'batch')
PACKAGES = (
    'onnxruntime',
    'openvino',
    'torch',
    'faiss-cpu',
    'lancedb',
    'ray',
    'hnswlib',
    'usearch',
    'numpy',
    'opencv-python-headless',
)
_TOLD = ('avx2', 'avx512f', 'avx512_vnni', 'amx_int8', 'asimddp', 'i8mm')  # of a processor


def processor() -> str:
    """Its name and what this process may use of it."""
    found = this_processor()
    known = [flag for flag in _TOLD if flag in found.abilities]
    cores = len(os.sched_getaffinity(0))
    return f'{found.name}, {counted(cores, "core")}, {" ".join(known)}'


def versions() -> str:
    """Of the packages that are compared, as far as they are installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f'{name} {importlib.metadata.version(name)}')
        except importlib.metadata.PackageNotFoundError:
            found.append(f'{name} not installed')
    return ', '.join(found)


def measured(part: str, *, quick: bool) -> list[Section]:
    """The sections of one benchmark file; one that says why, where it fails."""
    command = [sys.executable, str(HERE / f'{part}.py'), '--json', *(['--quick'] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ['it said nothing'])[-1]
        return [Section(part, f'This part failed: {reason}')]
    # What a node or a map says on the way stands before the result.
    return [
        Section(**found) for found in json.loads(done.stdout[done.stdout.rindex('[{"title') :])
    ]


def updated(text: str, sections: list[Section]) -> str:
    """A page with these sections in place of those of the same titles; new ones come last."""
    head, *old = re.split(r'(?m)^(?=## )', text)
    by_title = {section.partition('\n')[0]: section for section in old}
    by_title |= {f'## {section.title}': section.markdown() for section in sections}
    return '\n'.join(f'{part.rstrip()}\n' for part in [head, *by_title.values()])


def measured_alone(section: Section, part: str, load: float) -> Section:
    """A section that says how it came onto a page of another run."""
    note = (
        f"Measured by `make bench ARGS='--only {part}'` on {processor()}, on "
        f'{datetime.now(timezone.utc):%Y-%m-%d}; other programs kept {load:.1f} cores busy when '
        'it began.'
    )
    return replace(section, notes=[*section.notes, note])


def page(sections: list[Section], load: float, taken_s: float, *, quick: bool) -> str:
    """docs/results/performance.md."""
    lines = [
        '# Performance',
        '',
        f'Made by `make bench` in {counted(round(taken_s / 60), "minute")}'
        f'{" (--quick)" if quick else ""} on {processor()}; '
        f'Python {platform.python_version()}, {versions()}. '
        f'Other programs kept {load:.1f} cores busy when it began.',
        '',
        'The ratio says how many times better vpr_ros is than the alternative in the column '
        '"compared with"; below 1, the alternative is better. Both took turns in one run. '
        'Absolute figures hold for this machine.',
        '',
        '\n\n'.join(section.markdown() for section in sections),
        '',
    ]
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='fewer and smaller, to see it work')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, metavar='PART')
    parser.add_argument(
        '--output', type=Path, help='a page of its own; default: docs/results/performance.md'
    )
    arguments = parser.parse_args()
    load, started_s = os.getloadavg()[0], time.monotonic()
    sections: dict[str, list[Section]] = {}
    for part in tqdm(arguments.only, unit='part', disable=None):
        sections[part] = measured(part, quick=arguments.quick)
    taken_s = time.monotonic() - started_s
    everything = [section for found in sections.values() for section in found]
    text = page(everything, load, taken_s, quick=arguments.quick)
    print(text)
    if not arguments.output and tuple(arguments.only) != PARTS:
        alone = [
            measured_alone(section, part, load)
            for part, found in sections.items()
            for section in found
            if not has_failed(section)
        ]
        text = updated(PAGE.read_text(), alone)
    if arguments.output or not arguments.quick:
        output = arguments.output or PAGE
        output.write_text(text)
        print(f'written to {output}')
    return int(any(map(has_failed, everything)))


def has_failed(section: Section) -> bool:
    """Whether it stands for a part that failed."""
    return section.means.startswith('This part failed')


if __name__ == '__main__':
    sys.exit(main())
