"""How large the numbers of the first training step are, counted by binade.

By NumPy, which makes it exact: TensorFlow flushes float32 and bfloat16 subnormals to zero, even in
a cast to float64.
"""

import numpy as np
import numpy.typing as npt

from cnnprec.diagnosis.step import as_float64, compute_step, slots_of
from cnnprec.records.numerics import Histogram, Kind
from cnnprec.training.device import tensor_float_32
from cnnprec.training.trainer import Trainer


def histogram(kind: Kind, values: npt.ArrayLike) -> Histogram:
    """Counts the elements of an array of any shape."""
    array = np.asarray(values).astype(np.float64).ravel()
    nonzero = array[np.isfinite(array) & (array != 0)]
    # frexp gives m in [1/2, 1), so its exponent is one more. It is exact for subnormals too.
    exponents = np.frexp(nonzero)[1] - 1
    first = int(exponents.min()) if exponents.size else 0
    return Histogram(
        kind,
        zero=int(np.count_nonzero(array == 0)),
        infinite=int(np.count_nonzero(np.isinf(array))),
        nan=int(np.count_nonzero(np.isnan(array))),
        first=first,
        counts=tuple(np.bincount(exponents - first).tolist()),
    )


def first_step(trainer: Trainer) -> tuple[Histogram, ...]:
    """Takes the first step of a warmed-up trainer and counts its numbers, each `Kind` in its order.

    The gradients are computed eagerly before the step, so a few may be rounded otherwise.
    """
    model, scaled = trainer.model, trainer.precision.loss_scaling
    trainer.start_turns()
    scale = float(model.optimizer.dynamic_scale.numpy()) if scaled else 1.0
    ((images, labels),) = trainer.batches.take(1)
    with tensor_float_32(trainer.precision.tensor_float_32):
        gradients = [as_float64(g) for g in compute_step(model, images, labels).gradients]
    trainer.take(1)
    variables = model.trainable_variables
    slots = slots_of(model.optimizer, variables)
    found = {
        # Exact: the scale is a power of two, and float64 has exponents to spare.
        Kind.GRADIENTS: [gradient / scale for gradient in gradients],
        Kind.SCALED_GRADIENTS: gradients if scaled else [],
        Kind.SECOND_MOMENTS: list(map(as_float64, slots["velocity"])),
        Kind.WEIGHTS: list(map(as_float64, variables)),
    }
    return tuple(
        histogram(kind, np.concatenate(parts, axis=None)) for kind, parts in found.items() if parts
    )
