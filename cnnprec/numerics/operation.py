"""What a numeric probe runs and what it should give; inputs that the probes share."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.numerics.bounds import Arithmetic, Enclosure
from cnnprec.precision.formats import round_to

Inputs = Mapping[str, NDArray[Any]]  # float64 arrays of numbers the dtype has, or int64 labels
Tensors = Mapping[str, Any]  # the same as tensors of the probe's dtype


class Operation(Protocol):
    """What a probe runs, and what it should give; a frozen dataclass."""

    def draw(self, rng: np.random.Generator, dtype: str) -> Inputs:
        """Draws inputs that the dtype represents exactly."""

    def prepare(self, inputs: Tensors, dtype: str) -> Callable[[], Any]:
        """Builds what is needed; the function returned can be traced, and run again and again.

        It looks its inputs up when it runs, so that a trace can put its own there.
        """

    def enclose(self, inputs: Inputs, arithmetic: Arithmetic) -> Enclosure:
        """Returns the exact result and the bound on the error."""


def draw_normal(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str
) -> NDArray[np.float64]:
    """Standard normal numbers that the dtype represents."""
    return round_to(rng.standard_normal(shape), dtype)


def draw_activations(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str
) -> NDArray[np.float64]:
    """Numbers as they come out of ReLU, whose sums show lossy accumulation best."""
    return np.maximum(draw_normal(rng, shape, dtype), 0.0)


def run_layer(layer: Callable[[Any], Any], x: Any, upstream: Any, output: str) -> Any:
    """A built layer's output, or its gradient with respect to the input, the kernel or the bias.

    An `upstream` of None stands for ones.
    """
    if output == "forward":
        return layer(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    weight = output.removesuffix("_gradient")
    source = x if weight == "input" else getattr(layer, weight).value
    return tape.gradient(y, source, output_gradients=upstream)
