"""The small neural network of the deep Q-network, written in numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Network:
    """A multi-layer perceptron with ReLU and one output; Adam trains it with the Huber loss.

    Parameters
    ----------
    sizes : sequence of int
        These are the sizes of the input, the hidden layers and the output, which is 1.
    learning_rate : float
        Above 0.
    rng : numpy.random.Generator
        It draws the first weights (He et al., ICCV'15).

    References
    ----------
    Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR'15.
    """

    def __init__(
        self, sizes: Sequence[int], learning_rate: float, rng: np.random.Generator
    ) -> None:
        self.learning_rate, self.steps = learning_rate, 0
        shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
        self._flat, self.weights = _views(shapes)
        for k, fan_in in enumerate(sizes[:-1]):
            layer = self.weights[2 * k]
            layer[:] = math.sqrt(2 / fan_in) * rng.standard_normal(layer.shape)
        self._mean, self._square = np.zeros_like(self._flat), np.zeros_like(self._flat)

    def __call__(self, inputs: Floats) -> Floats:
        """Return outputs of shape (n,) for inputs of shape (n, inputs)."""
        return self._layers(inputs)[-1][:, 0]

    def _layers(self, inputs: Floats) -> list[Floats]:
        layers = [inputs]
        for k in range(0, len(self.weights), 2):
            out = layers[-1] @ self.weights[k] + self.weights[k + 1]
            layers.append(np.maximum(out, 0) if k + 2 < len(self.weights) else out)
        return layers

    def train(self, inputs: Floats, targets: Floats) -> None:
        """Take one step that moves the outputs towards the targets, shape (n,)."""
        layers = self._layers(inputs)
        delta = np.clip(layers[-1] - targets[:, None], -1, 1) / len(inputs)
        gradients: list[Floats] = []
        for k in range(len(self.weights) - 2, -1, -2):
            below = layers[k // 2]
            gradients[:0] = [(below.T @ delta).ravel(), delta.sum(axis=0)]
            if k:
                delta = (delta @ self.weights[k].T) * (below > 0)
        gradient = np.concatenate(gradients)
        self.steps += 1
        pace = self.learning_rate * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient**2 - self._square)
        self._flat -= pace * self._mean / (np.sqrt(self._square) + 1e-8)


def _views(shapes: Sequence[tuple[int, ...]]) -> tuple[Floats, list[Floats]]:
    """Return one flat array of zeros, so that a step is one operation, and views of it."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    flat = np.zeros(ends[-1])
    parts = np.split(flat, ends[:-1])
    return flat, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
