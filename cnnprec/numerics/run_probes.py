"""Running probes and keeping what they found."""

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.numerics.arithmetic import arithmetic_for
from cnnprec.numerics.discrepancy import Discrepancy, discrepancy
from cnnprec.numerics.known_defects import known_defects
from cnnprec.numerics.onednn import computed_by_onednn
from cnnprec.numerics.operation import Inputs
from cnnprec.numerics.probes import DTYPES, Probe, select_probes
from cnnprec.numerics.sums_and_casts import Cast
from cnnprec.precision.formats import FORMATS


@dataclasses.dataclass(frozen=True)
class ProbeResult(Discrepancy):
    """What one probe found, beside the discrepancy."""

    name: str
    dtype: str
    elements: int  # of the result
    sha256: str  # of its bytes in C order
    repeats: bool  # whether a second run gave the same bytes
    known_defect: str | None  # section of docs/known-defects.md that says why it is over its bound

    @property
    def id(self) -> str:
        """The key of the probe in `PROBES`."""
        return f"{self.name}[{self.dtype}]"

    @property
    def within_bound(self) -> bool:
        """Whether every element is as close to the exact result as it must be."""
        return self.max_error_over_bound <= 1.0

    def __str__(self) -> str:
        return (
            f"{self.id}: error over bound {self.max_error_over_bound:.3g} at "
            f"{list(self.worst_index)}: computed {self.worst_computed!r}, exact "
            f"{self.worst_exact!r}"
            + (f" (known defect: {self.known_defect})" if self.known_defect else "")
        )


def run_probe(probe: Probe, *, seed: int, tensor_float_32: bool = False) -> ProbeResult:
    """Runs a probe twice on TensorFlow's default device, with numbers of its own from the seed.

    `tensor_float_32` is what the result is held to; TensorFlow's own setting is left alone.
    """
    on_gpu = default_device() == "GPU"
    arithmetic = arithmetic_for(probe.dtype, tensor_cores=on_gpu, tensor_float_32=tensor_float_32)
    rng = np.random.default_rng([seed, zlib.crc32(probe.id.encode())])
    inputs = probe.operation.draw(rng, probe.dtype)
    computed, again = _compute_twice(probe, inputs)
    found = discrepancy(computed, probe.operation.enclose(inputs, arithmetic))
    return ProbeResult(
        name=probe.name,
        dtype=probe.dtype,
        elements=computed.size,
        sha256=hashlib.sha256(computed.tobytes()).hexdigest(),
        repeats=computed.tobytes() == again.tobytes(),
        **dataclasses.asdict(found),
        known_defect=None if on_gpu else _known_defects().get(probe.id),
    )


@functools.cache
def _known_defects() -> Mapping[str, str]:
    return known_defects(tuple(filter(computed_by_onednn, DTYPES)))


def _compute_twice(probe: Probe, inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any]]:
    operation, dtype = probe.operation, probe.dtype
    source = operation.source if isinstance(operation, Cast) else dtype
    tensors = {
        name: tf.constant(
            values if values.dtype == np.int64 else values.astype(FORMATS[source].numpy_dtype)
        )
        for name, values in inputs.items()
    }
    run = operation.prepare(tensors, dtype)
    if probe.graph:
        run = tf.function(run, jit_compile=False, autograph=False)
    first, second = (np.asarray(run().numpy()) for _ in range(2))
    return first, second


def run_probes(
    dtypes: Iterable[str] = DTYPES,
    names: Iterable[str] = ("*",),
    *,
    seed: int = 0,
    tensor_float_32: bool = False,
) -> tuple[ProbeResult, ...]:
    """Runs every probe of some dtypes whose name matches a pattern, such as ``"conv2d.*"``.

    Probes marked ``cpu_only`` are left out where there is a GPU. For the others see `run_probe`.

    Raises:
        ValueError: A dtype is unknown or a pattern matches no probe.
    """
    on_cpu = default_device() == "CPU"
    return tuple(
        run_probe(probe, seed=seed, tensor_float_32=tensor_float_32)
        for probe in select_probes(dtypes, names)
        if on_cpu or not probe.cpu_only
    )


def default_device() -> str:
    """Where TensorFlow places operations by default: ``"GPU"`` if there is one, or ``"CPU"``."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
