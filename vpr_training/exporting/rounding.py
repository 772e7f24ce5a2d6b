"""Round a convolution's weights so that its output stays, not each weight by itself.

A depthwise convolution sums 9 or 25 neighbouring pixels, which are much alike. Errors of its
weights do not average out there. What counts is the error of the output, (w - q)^T H (w - q),
where H is the covariance of the inputs on calibration images. Weights move by single steps as
long as that error falls, for several scales of each output channel. (Nagel et al. 2020 minimize
the same: Up or Down? Adaptive Rounding for Post-Training Quantization.) The bias takes what the
mean input makes of the difference.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vpr_ros.core.types import Image
from vpr_training.exporting.equalize import Floats, tensors_of
from vpr_training.exporting.graph_edits import attribute, initializers

_MOST = 127  # of a signed byte; -128 would make the scale another one
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)  # of the scale that holds the largest weight
_SWEEPS = 4
_BLOCK = 64  # inputs, after whose steps the slope of all others is made anew by one product
_MOST_INPUTS = 1024  # of an output: the errors of more weights average out, and take minutes
_POSITIONS = 128  # of an image, at which a layer's inputs are looked at
_RIDGE = 3e-3  # of the mean variance


def rounded(model: Any, images: Sequence[Image]) -> dict[str, dict[str, Floats]]:
    """For each convolution, by its name, the constants to take when it is quantized.

    Those of more than _MOST_INPUTS inputs are left out.

    model: onnx.ModelProto in float. images: of the network's size. Quantizing the new weights with
    a scale for each output channel changes them no more.
    """
    constants = initializers(model)
    layers = [
        _Layer(node, constants[node.input[1]])
        for node in model.graph.node
        if node.op_type == 'Conv'
        and len(node.input) == 3
        and _has(constants, node.input[1:])
        and int(np.prod(constants[node.input[1]].shape[1:])) <= _MOST_INPUTS
    ]
    rng = np.random.default_rng(0)
    for tensors in tensors_of(model, {layer.node.input[0] for layer in layers}, images):
        for layer in layers:
            layer.see(tensors[layer.node.input[0]], rng)
    found = {}
    for layer in layers:
        weights, shift = layer.rounded()
        bias = constants[layer.node.input[2]] + shift
        found[layer.node.name] = {
            layer.node.input[1]: weights,
            layer.node.input[2]: bias.astype(np.float32),
        }
    return found


def rounded_rows(weights: Floats, covariance: Floats) -> Floats:
    """Weights [G, O, K] on grids of their rows; covariance of the inputs [G, K, K], definite."""
    whole = np.abs(weights).max(axis=2) / _MOST  # [G, O]
    whole[whole == 0] = 1
    best: Floats = np.round(weights / whole[:, :, None]) * whole[:, :, None]
    least = _error(weights - best, covariance)
    scales = np.multiply.outer(_SHRINKS, whole)  # [S, G, O]
    for scale, steps in zip(scales, _descended(weights, covariance, scales), strict=True):
        tried = steps * scale[:, :, None]
        error = _error(weights - tried, covariance)
        # Another grid would be found from the largest weight if none is at the end of this one.
        better = (error < least) & (np.abs(steps).max(axis=2) == _MOST)
        best = np.where(better[:, :, None], tried, best)
        least = np.where(better, error, least)
    return best


def _error(left: Floats, covariance: Floats) -> Floats:
    """Variance of each output [G, O] by what is left of the weights [G, O, K]."""
    variance: Floats = ((left @ covariance) * left).sum(axis=2)
    return variance


def _descended(weights: Floats, covariance: Floats, scales: Floats) -> Floats:
    """Whole numbers [S, G, O, K] from which no single step leads to a smaller error.

    For each of the scales [S, G, O] of weights [G, O, K].
    """
    steps = np.clip(np.round(weights / scales[..., None]), -_MOST, _MOST)
    slope = (weights - steps * scales[..., None]) @ covariance  # [S, G, O, K]
    curvature = np.einsum('gkk->gk', covariance)[:, None]  # [G, 1, K]
    places = weights.shape[2]
    for _ in range(_SWEEPS):
        before = steps.copy()
        for start in range(0, places, _BLOCK):
            block = slice(start, min(start + _BLOCK, places))
            own = slope[..., block].copy()  # what the block's own steps change at once
            for place in range(block.start, block.stop):
                wanted = np.round(own[..., place - start] / (curvature[..., place] * scales))
                there = np.clip(steps[..., place] + wanted, -_MOST, _MOST)
                step = there - steps[..., place]
                if step.any():
                    own -= (step * scales)[..., None] * covariance[:, None, place, block]
                    steps[..., place] = there
            moved = (steps[..., block] - before[..., block]) * scales[..., None]
            slope -= moved @ covariance[:, block]
        if (steps == before).all():
            break
    return np.asarray(steps)


@dataclass
class _Layer:
    """A convolution and the moments of what it reads: G groups, K inputs of an output."""

    node: Any
    weights: Floats  # [G * O, K / (h * w), h, w]
    count: int = 0
    sums: Floats = field(default_factory=lambda: np.zeros(()))  # [G, K]
    products: Floats = field(default_factory=lambda: np.zeros(()))  # [G, K, K]

    def see(self, tensor: Floats, rng: np.random.Generator) -> None:
        """Take some positions of an input [C, h, w]."""
        top, left, bottom, right = attribute(self.node, 'pads', (0, 0, 0, 0))
        padded = np.pad(tensor, ((0, 0), (top, bottom), (left, right)))
        kernel = self.weights.shape[2:]
        down, across = attribute(self.node, 'strides', (1, 1))
        windows: Floats = np.lib.stride_tricks.sliding_window_view(
            padded,
            kernel,
            axis=(1, 2),  # type: ignore[call-overload]  # numpy takes a tuple
        )
        windows = windows[:, ::down, ::across]  # [C, h, w, kernel]
        height, width = windows.shape[1:3]
        at = rng.choice(height * width, min(_POSITIONS, height * width), replace=False)
        taken = windows[:, at // width, at % width]  # [C, n, kernel]
        groups = self._groups
        parted = taken.reshape(groups, -1, len(at), int(np.prod(kernel))).transpose(0, 2, 1, 3)
        rows = parted.reshape(groups, len(at), -1).astype(np.float64)
        self.count += len(at)
        self.sums = self.sums + rows.sum(axis=1)
        self.products = self.products + rows.transpose(0, 2, 1) @ rows

    def rounded(self) -> tuple[Floats, Floats]:
        """The weights on their grids, and what to add to the bias [G * O]."""
        mean = self.sums / self.count
        covariance = self.products / self.count - mean[:, :, None] * mean[:, None, :]
        inputs = covariance.shape[1]
        variance = np.einsum('gkk->g', covariance) / inputs
        ridge = np.maximum(_RIDGE * variance, 1e-12)
        covariance = covariance + ridge[:, None, None] * np.eye(inputs)
        rows = self.weights.reshape(self._groups, -1, inputs).astype(np.float64)
        found = rounded_rows(rows, covariance)
        shift = np.einsum('gok,gk->go', rows - found, mean)
        return found.reshape(self.weights.shape).astype(np.float32), shift.ravel()

    @property
    def _groups(self) -> int:
        return int(attribute(self.node, 'group', 1))


def _has(constants: Collection[str], names: Sequence[str]) -> bool:
    return all(name in constants for name in names)
