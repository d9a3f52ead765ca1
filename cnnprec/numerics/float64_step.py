"""One step of the tutorial CNN in NumPy, in float64: an oracle that knows no TensorFlow."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Float64Step:
    """What one step should compute."""

    probabilities: Float64  # of the softmax, ``[batch, classes]``
    loss: float  # mean cross-entropy of the batch
    gradients: tuple[Float64, ...]  # of the loss, in the order of the weights


def float64_step(weights: Sequence[Float64], images: Float64, labels: NDArray[Any]) -> Float64Step:
    """Computes loss and gradients of `cnnprec.training.model.build_model`'s network.

    For images from 0 to 1, ``[batch, 28, 28, 1]``, and integer labels, ``[batch]``; the weights are
    kernel and bias of three convolutions and two dense layers.
    """
    kernels, biases = weights[0::2], weights[1::2]
    inputs, outputs, places = [images], [], []
    for layer in range(3):
        outputs.append(np.maximum(_convolve(inputs[-1], kernels[layer]) + biases[layer], 0))
        if layer < 2:
            pooled, place = pool(outputs[-1])
            places.append(place)
            inputs.append(pooled)
    flat = outputs[2].reshape(len(images), -1)
    hidden = np.maximum(flat @ kernels[3] + biases[3], 0)
    logits = hidden @ kernels[4] + biases[4]
    logits -= logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits)
    totals = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels)), np.asarray(labels, np.int64)
    loss = float(np.mean(np.log(totals[:, 0]) - logits[rows]))
    probabilities = exponentials / totals

    upstream = probabilities.copy()
    upstream[rows] -= 1
    upstream /= len(labels)
    gradients = [hidden.T @ upstream, upstream.sum(axis=0)]
    upstream = (upstream @ kernels[4].T) * (hidden > 0)
    gradients = [flat.T @ upstream, upstream.sum(axis=0), *gradients]
    upstream = (upstream @ kernels[3].T).reshape(outputs[2].shape)
    for layer in (2, 1, 0):
        upstream = upstream * (outputs[layer] > 0)
        kernel = patches(inputs[layer], (3, 3)).T @ upstream.reshape(-1, upstream.shape[-1])
        bias = upstream.sum(axis=(0, 1, 2))
        gradients = [kernel.reshape(kernels[layer].shape), bias, *gradients]
        if layer:
            padded = np.pad(upstream, ((0, 0), (2, 2), (2, 2), (0, 0)))
            pooled = _convolve(padded, kernels[layer][::-1, ::-1].swapaxes(2, 3))
            upstream = unpool(pooled, places[layer - 1], outputs[layer - 1].shape)
    return Float64Step(probabilities, loss, tuple(gradients))


def patches(images: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """im2col: ``(n, h, w, c)`` to ``(n * oh * ow, height * width * c)``, valid padding."""
    axes = tuple(range(1, 1 + len(size)))
    windows = np.lib.stride_tricks.sliding_window_view(images, size, axes)
    columns: NDArray[Any] = np.moveaxis(windows, 1 + len(size), -1)
    return columns.reshape(-1, math.prod(size) * images.shape[-1])


def _convolve(images: Float64, kernel: Float64) -> Float64:
    batch, height, width, _ = images.shape
    found: Float64 = patches(images, (3, 3)) @ kernel.reshape(-1, kernel.shape[-1])
    return found.reshape(batch, height - 2, width - 2, -1)


def pool(images: Float64) -> tuple[Float64, NDArray[np.intp]]:
    """2 x 2 maxima, and which of the four each of them is, row by row; the first of equal ones."""
    four = np.stack([images[corner] for corner in _corners(images.shape)])
    return four.max(axis=0), four.argmax(axis=0)


def unpool(upstream: Float64, place: NDArray[np.intp], shape: tuple[int, ...]) -> Float64:
    """The gradient of `pool` for images of this shape: each number where its maximum was."""
    images = np.zeros(shape)
    for number, corner in enumerate(_corners(shape)):
        images[corner] = np.where(place == number, upstream, 0.0)
    return images


def _corners(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Where the four numbers of all windows lie."""
    height, width = shape[1] // 2 * 2, shape[2] // 2 * 2
    return [np.s_[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
