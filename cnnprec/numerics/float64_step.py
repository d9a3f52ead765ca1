"""One step of the tutorial CNN in NumPy, in float64: an oracle that knows no TensorFlow."""

import dataclasses
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
            pooled, place = _pool(outputs[-1])
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
        kernel = np.einsum("bhwcij,bhwf->ijcf", _windows(inputs[layer], 3), upstream, optimize=True)
        gradients = [kernel, upstream.sum(axis=(0, 1, 2)), *gradients]
        if layer:
            padded = np.pad(upstream, ((0, 0), (2, 2), (2, 2), (0, 0)))
            turned = kernels[layer][::-1, ::-1].swapaxes(2, 3)
            pooled = _convolve(padded, turned)
            upstream = _unpool(pooled, places[layer - 1], outputs[layer - 1].shape)
    return Float64Step(probabilities, loss, tuple(gradients))


def _windows(images: Float64, size: int) -> Float64:
    """``[batch, height, width, channel, size, size]``."""
    return np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))


def _convolve(images: Float64, kernel: Float64) -> Float64:
    size, _, channels, filters = kernel.shape
    windows = _windows(images, size)
    rows = windows.reshape(-1, channels * size * size)
    columns = kernel.transpose(2, 0, 1, 3).reshape(-1, filters)
    found: Float64 = (rows @ columns).reshape(*windows.shape[:3], filters)
    return found


def _pool(images: Float64) -> tuple[Float64, NDArray[np.intp]]:
    """2 x 2 maxima, and which of the four each of them is; the first of equal ones."""
    batch, height, width, channels = images.shape
    height, width = height // 2, width // 2
    cells = images[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    four = cells.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height, width, channels, 4)
    return four.max(axis=-1), four.argmax(axis=-1)


def _unpool(upstream: Float64, place: NDArray[np.intp], shape: tuple[int, ...]) -> Float64:
    batch, height, width, channels = upstream.shape
    four = np.where(np.arange(4) == place[..., None], upstream[..., None], 0.0)
    cells = four.reshape(batch, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    images = np.zeros(shape)
    images[:, : 2 * height, : 2 * width] = cells.reshape(batch, 2 * height, 2 * width, channels)
    return images
