"""Where a graph's time goes by onnxruntime on the CPU: operators in bytes, floats, between both.

    python benchmarks/operators.py [MODEL] [--precision int8] [--top 8]

Of the graph that really runs, after onnxruntime has merged what it can. The share of the floats is
what a faster int8 would have to come from.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import onnxruntime as ort

from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.describing.precision import PRECISIONS
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import resize

ROUNDS = 30


def kind_of(operator: str) -> str:
    """In which numbers an operator of onnxruntime computes."""
    if operator in ('QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear'):
        return 'between'
    return 'bytes' if operator.startswith('QLinear') or 'Integer' in operator else 'floats'


def profiled(model: Model) -> Counter[tuple[str, str, str]]:
    """Milliseconds of one image by kind, operator and node; one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    image = resize(probes()[0], model.card.image_size)[None]
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / 'profile')
        session = ort.InferenceSession(
            str(model.graph), options, providers=['CPUExecutionProvider']
        )
        for _ in range(ROUNDS):
            session.run(None, {session.get_inputs()[0].name: image})
        events = json.loads(Path(session.end_profiling()).read_text())
    taken_ms: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        if event.get('cat') == 'Node' and event['name'].endswith('_kernel_time'):
            operator = event['args']['op_name']
            name = event['name'].removesuffix('_kernel_time')
            taken_ms[kind_of(operator), operator, name] += event['dur'] / 1e3 / ROUNDS
    return taken_ms


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', nargs='?', type=Path, metavar='MODEL', help='default: shipped')
    parser.add_argument('--precision', choices=PRECISIONS, default='int8')
    parser.add_argument('--top', type=int, default=8)
    arguments = parser.parse_args()
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    taken_ms = profiled(model)
    whole_ms = sum(taken_ms.values())
    kinds: Counter[str] = Counter()
    operators: Counter[tuple[str, str]] = Counter()
    for (kind, operator, _), taken in taken_ms.items():
        kinds[kind] += taken
        operators[kind, operator] += taken
    shares = ', '.join(f'{kind} {taken / whole_ms:.0%}' for kind, taken in kinds.most_common())
    print(f'{model.card.name} {model.precision}: {whole_ms:.1f} ms, {shares}')
    for (kind, operator), taken in operators.most_common(arguments.top):
        nodes = sum(entry[:2] == (kind, operator) for entry in taken_ms)
        print(
            f'  {operator:<20} {kind:<8} {nodes:3} nodes {taken:7.2f} ms {taken / whole_ms:4.0%}'
        )
    if model.precision.startswith('int8'):
        made = model.card.precisions[model.precision].made
        print(f'  made: {made}')
        print('  the slowest in floats:')
        floats = Counter({key: taken for key, taken in taken_ms.items() if key[0] == 'floats'})
        for (_, operator, name), taken in floats.most_common(arguments.top):
            print(f'    {operator:<20} {taken:7.2f} ms  {name}')


if __name__ == '__main__':
    main()
