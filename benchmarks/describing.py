"""What a descriptor costs: ours, the bare onnxruntime session, torch, and OpenVINO.

    python benchmarks/describing.py [--quick] [--json]

Decoding the image counts on every side. torch and OpenVINO are measured where they are installed;
torch runs the same network with random weights, which cost the same.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import yaml
from inputs import ROOT
from sections import Section, medians_ms, run

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import decode, encode_jpeg, resize
from vpr_ros.core.plurals import counted

SIZES = {'VGA': (480, 640), '720p': (720, 1280), '1080p': (1080, 1920)}


def photo(size_hw: tuple[int, int]) -> bytes:
    """A JPEG with as much detail as a picture has."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    return encode_jpeg(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC))


def bare_session(
    model: Model, threads: int
) -> tuple[ort.InferenceSession, Callable[[bytes], object]]:
    """onnxruntime as its tutorial shows it, with OpenCV's decoder before it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model.graph), options, providers=['CPUExecutionProvider'])
    name, (height, width) = session.get_inputs()[0].name, model.card.image_size

    def call(encoded: bytes) -> object:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        rgb = cv2.cvtColor(cv2.resize(bgr, (width, height)), cv2.COLOR_BGR2RGB)
        return session.run(None, {name: rgb[None]})

    return session, call


def torch_calls(model: Model, threads: int) -> dict[str, Callable[[bytes], object]]:
    """The same network in torch; empty without torch."""
    try:
        import torch

        from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    height, width = model.card.image_size
    recipe = yaml.safe_load((ROOT / 'config' / 'models' / f'{model.card.name}.yaml').read_text())
    config = NetworkConfig.from_mapping(
        recipe['network'] | {'weights': None}, source=model.card.name
    )
    calls: dict[str, Callable[[bytes], object]] = {}
    for name, form in (
        ('torch eager', torch.contiguous_format),
        ('torch channels_last', torch.channels_last),
    ):
        network = ExportedNetwork(Network(config)).eval().to(memory_format=form)

        def call(encoded: bytes, network: torch.nn.Module = network) -> object:
            image = resize(decode(encoded), (height, width))[None]
            with torch.inference_mode():
                return network(torch.from_numpy(image))

        calls[name] = call
    return calls


def openvino_calls(model: Model, threads: int) -> dict[str, Callable[[bytes], object]]:
    """The graph in OpenVINO; empty without it.

    Also as it computes by itself, which is in bfloat16 where the processor has that.
    """
    try:
        import openvino
    except ImportError:
        return {}
    settings = {'INFERENCE_NUM_THREADS': threads, 'PERFORMANCE_HINT': 'LATENCY'}
    size_hw = model.card.image_size
    calls: dict[str, Callable[[bytes], object]] = {}
    exact = {'INFERENCE_PRECISION_HINT': 'f32'}
    for name, more in (('OpenVINO, fp32', exact), ('OpenVINO, its own precision', {})):
        compiled = openvino.Core().compile_model(str(model.graph), 'CPU', settings | more)

        def call(encoded: bytes, compiled: Any = compiled) -> object:
            return compiled([resize(decode(encoded), size_hw)[None]])

        calls[name] = call
    return calls


def described(
    describer: OnnxDescriber, encoded: bytes, at_least_hw: tuple[int, int] | None = None
) -> object:
    """Our side."""
    return describer.describe([decode(encoded, at_least_hw=at_least_hw)])


def measure(quick: bool) -> list[Section]:
    """Threads and precisions, then image sizes."""
    rounds = 5 if quick else 30
    cores = len(os.sched_getaffinity(0))
    section = Section(
        'From a JPEG to a descriptor',
        'On one thread, describing an image costs little more than the network alone.',
    )
    encoded = photo(SIZES['VGA'])
    folder = default_model()
    for precision in precisions(folder):
        model = Model.open(folder, precision=precision)
        for threads in sorted({1, cores}):
            describer = OnnxDescriber(model, threads=threads)
            _, bare = bare_session(model, threads)
            others = {'bare onnxruntime': bare}
            if precision == 'fp32':
                others |= torch_calls(model, threads)
            others |= openvino_calls(model, threads)
            found = medians_ms(
                {'ours': partial(described, describer, encoded)}
                | {name: partial(call, encoded) for name, call in others.items()},
                rounds=rounds,
            )
            for name in others:
                what = f'{model.card.name} {precision}, VGA, {counted(threads, "thread")}'
                section.add(what, found['ours'], name, found[name])
    section.notes.append(
        'The threads of bare onnxruntime wait for each other in a busy loop. The threads of the '
        "node sleep, because a robot's other programs need the cores (decision 0028). With two "
        'threads on an otherwise idle computer, this costs some milliseconds.'
    )
    section.notes.append(by_precision(folder, rounds, cores, encoded))
    return [section, by_size(folder, rounds)]


def precisions(folder: Path) -> list[str]:
    """What of a model runs on a processor; int8_symmetric is for TensorRT."""
    accepted = Model.open(folder, precision='fp32').card.precisions
    return ['fp32', *(name for name in accepted if name not in ('fp32', 'int8_symmetric'))]


def by_precision(folder: Path, rounds: int, threads: int, encoded: bytes) -> str:
    """How much quicker each accepted graph is than the fp32 one, in turns."""
    models = {name: Model.open(folder, precision=name) for name in precisions(folder)}
    describers = {name: OnnxDescriber(model, threads=threads) for name, model in models.items()}
    found = medians_ms(
        {name: partial(described, describer, encoded) for name, describer in describers.items()},
        rounds=rounds,
    )
    said = [f'{name} {found["fp32"] / found[name]:.2f}' for name in found if name != 'fp32']
    return f'Speed relative to fp32: {", ".join(said) or "no other precision was accepted"}.'


def by_size(folder: Path, rounds: int) -> Section:
    """What the size of the camera's images costs."""
    section = Section(
        'Image sizes',
        'A larger camera image costs little: a JPEG is decoded no larger than the network needs.',
    )
    describer = OnnxDescriber(Model.open(folder))
    size_hw = describer.model.card.image_size
    for name, image_hw in SIZES.items():
        encoded = photo(image_hw)
        found = medians_ms(
            {
                'ours': partial(described, describer, encoded, size_hw),
                'whole': partial(described, describer, encoded),
            },
            rounds=rounds,
        )
        section.add(
            f'JPEG of {name} to descriptor', found['ours'], 'decoded whole', found['whole']
        )
    return section


if __name__ == '__main__':
    run(__doc__, measure)
