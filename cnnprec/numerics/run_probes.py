"""Running probes and keeping what they found."""

import dataclasses
import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cnnprec.numerics.bounds import arithmetic_for
from cnnprec.numerics.discrepancy import Discrepancy, discrepancy
from cnnprec.numerics.known_defects import known_defects
from cnnprec.numerics.operation import Inputs, Tensors
from cnnprec.numerics.probes import DTYPES, Probe, select_probes
from cnnprec.numerics.sums_and_casts import Cast
from cnnprec.precision.formats import FORMATS


@dataclasses.dataclass(frozen=True)
class ProbeResult(Discrepancy):
    """What one probe found, beside the discrepancy."""

    name: str
    dtype: str
    mode: str  # as in `Probe`
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
            f"{self.id} ({self.mode}): error over bound {self.max_error_over_bound:.3g} at "
            f"{list(self.worst_index)}: computed {self.worst_computed!r}, exact "
            f"{self.worst_exact!r}"
            + (f" (known defect: {self.known_defect})" if self.known_defect else "")
        )


def _run(probes: Sequence[Probe], seed: int, tensor_float_32: bool) -> Iterator[ProbeResult]:
    """Runs probes of one dtype and mode twice, those that are not eager as one function."""
    probe, on_gpu = probes[0], default_device() == "GPU"
    rules = {"tensor_cores": on_gpu, "tensor_float_32": tensor_float_32}
    arithmetic = arithmetic_for(probe.dtype, **rules)
    dice = (np.random.default_rng([seed, zlib.crc32(p.id.encode())]) for p in probes)
    drawn = [p.operation.draw(own, p.dtype) for p, own in zip(probes, dice, strict=True)]
    held = [_tensors(p, inputs) for p, inputs in zip(probes, drawn, strict=True)]
    runs = [p.operation.prepare(own, p.dtype) for p, own in zip(probes, held, strict=True)]

    def run(given: Sequence[Tensors]) -> list[Any]:
        # Arguments of the trace: what it captured would be constants, computed with in compiling.
        for own, arguments in zip(held, given, strict=True):
            own.update(arguments)
        return [one() for one in runs]

    arguments = [dict(own) for own in held]
    if probe.mode != "eager":
        run = tf.function(run, jit_compile=probe.mode == "XLA", autograph=False)
    twice = [[np.asarray(y.numpy()) for y in run(arguments)] for _ in range(2)]
    for probe, inputs, computed, again in zip(probes, drawn, *twice, strict=True):
        found = discrepancy(computed, probe.operation.enclose(inputs, arithmetic))
        yield ProbeResult(
            name=probe.name,
            dtype=probe.dtype,
            mode=probe.mode,
            elements=computed.size,
            sha256=hashlib.sha256(computed.tobytes()).hexdigest(),
            repeats=computed.tobytes() == again.tobytes(),
            **dataclasses.asdict(found),
            known_defect=known_defects(on_gpu).get(probe.id),
        )


def _tensors(probe: Probe, inputs: Inputs) -> dict[str, Any]:
    source = probe.operation.source if isinstance(probe.operation, Cast) else probe.dtype
    dtype = FORMATS[source].numpy_dtype
    return {
        name: tf.constant(values if values.dtype == np.int64 else values.astype(dtype))
        for name, values in inputs.items()
    }


def run_probes(
    dtypes: Iterable[str] = DTYPES,
    names: Iterable[str] = ("*",),
    *,
    seed: int = 0,
    tensor_float_32: bool = False,
) -> tuple[ProbeResult, ...]:
    """Runs every probe of some dtypes whose name matches a pattern, such as ``"conv2d.*"``.

    Each runs on TensorFlow's default device, with numbers of its own from the seed. Those marked
    ``cpu_only`` are left out on a GPU. XLA compiles those of a dtype together, in 10 to 20 seconds.
    `tensor_float_32` is what results are held to; TensorFlow's own setting is left alone.

    Raises:
        ValueError: A dtype is unknown or a pattern matches no probe.
    """
    on_cpu = default_device() == "CPU"
    probes = [p for p in select_probes(dtypes, names) if on_cpu or not p.cpu_only]
    parts = itertools.groupby(probes, lambda p: p.dtype if p.mode == "XLA" else p.id)
    found = (_run(list(part), seed, tensor_float_32) for _, part in parts)
    return tuple(itertools.chain.from_iterable(found))


def default_device() -> str:
    """Where TensorFlow places operations by default: ``"GPU"`` if there is one, or ``"CPU"``."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
