"""Raw 1080p at 30 Hz through the real node, of this tree and of another one in turns.

    python benchmarks/raw_1080p.py [OTHER_TREE] [--rounds 3] [--seconds 5]

OTHER_TREE: such as of `git worktree add ../before COMMIT`. Each run is a process of its own, with
PYTHONPATH set to its tree; both take the same map and the same bag.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
SIZE_HW = (1080, 1920)


def measure(place_map: Path, bag: Path) -> None:
    """One run by the tree of PYTHONPATH, printed as JSON."""
    from node import latencies_ms, watching

    from vpr_ros.evaluating.live import run_live

    with watching() as watched:
        found = run_live(bag, None, {'map': str(place_map)})
    p50, p95 = np.percentile(latencies_ms(found), [50, 95])
    stages = {name: times['p50'] for name, times in found.node_latency_ms.items()}
    shown = {'p50': p50, 'p95': p95, 'dropped': found.dropped, 'sent': found.sent}
    print(json.dumps(shown | {'cores': watched.cores(), 'stages': stages}))


def show(name: str, shown: dict[str, Any]) -> None:
    """One line for one run."""
    stages = ', '.join(f'{stage} {taken:.1f}' for stage, taken in shown['stages'].items())
    print(
        f'{name:<7} publish to pose p50 {shown["p50"]:6.1f} ms, p95 {shown["p95"]:6.1f} ms; '
        f'{shown["dropped"]:3} of {shown["sent"]} dropped; {shown["cores"]:.2f} cores; '
        f'p50 of {stages}'
    )


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('other', nargs='?', type=Path, metavar='OTHER_TREE')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=5.0)
    parser.add_argument('--once', nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        measure(*arguments.once)
        return
    from node import default_model, write_bag
    from sections import map_of_day

    from vpr_ros.core.describing.describe import OnnxDescriber
    from vpr_ros.core.describing.model import Model

    trees = {'other': arguments.other, 'this': HERE} if arguments.other else {'this': HERE}
    with tempfile.TemporaryDirectory() as temporary:
        place_map, bag = Path(temporary) / 'map', Path(temporary) / 'bag'
        describer = OnnxDescriber(Model.open(default_model()), singly=False)
        map_of_day(describer, place_map)
        write_bag(bag, SIZE_HW, rate_hz=30.0, seconds=arguments.seconds, jpeg=False)
        for _ in range(arguments.rounds):
            for name, tree in trees.items():
                command = [sys.executable, __file__, '--once', str(place_map), str(bag)]
                environment = os.environ | {'PYTHONPATH': str(tree.resolve())}
                said = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                )
                show(name, json.loads(said.stdout.splitlines()[-1]))


if __name__ == '__main__':
    main()
