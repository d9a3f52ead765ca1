"""Numeric probes: single operations of TensorFlow and Keras, held to derived bounds.

A probe draws representable inputs from a seed, runs one operation in one dtype, and
compares the result with a reference in NumPy that knows nothing of TensorFlow. The layers
that the CNN uses are run as Keras layers, with their gradients; reductions and casts are
run as TensorFlow operations. `cnnprec.bounds` derives how large the error may be.

A probe above its bound is a wrong result, not noise. Results that TensorFlow itself gets
wrong today are listed by `known_defects`; their bounds are the same as everyone's.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import hashlib
import math
import zlib
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnprec.bounds import (
    FORMATS,
    Accumulator,
    arithmetic_for,
    discrepancy,
    get_format,
)
from cnnprec.operations import (
    COPYING_ROUTES,
    COUNTING_ROUTES,
    ROUTES,
    VALUES,
    AdamUpdate,
    BiasAdd,
    Cast,
    Conv2D,
    Counting,
    CrossEntropy,
    Dense,
    Inputs,
    MaxPooling2D,
    MaxPoolingNan,
    Operation,
    Reduction,
    Relu,
    Softmax,
    Value,
)

DTYPES = tuple(FORMATS)
"""The dtypes that probes exist for."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """One operation in one dtype.

    Attributes:
        name: What is computed, such as ``"conv2d.tutorial-1.kernel_gradient"``.
        dtype: Type of operands and result; for casts, of the result.
        operation: What to run and what to expect.
        mode: ``"eager"``, ``"graph"`` (`tf.function`) or ``"xla"`` (compiled).
        cpu_only: Whether the expectation is a convention measured on CPUs, which other
            devices may break without being wrong.
    """

    name: str
    dtype: str
    operation: Operation
    mode: str = "eager"
    cpu_only: bool = False

    @property
    def id(self) -> str:
        """The key in `PROBES`, such as ``"relu.forward[float16]"``."""
        return f"{self.name}[{self.dtype}]"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the main input."""
        return self.operation.shape


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What one probe found.

    Attributes:
        name: Name of the probe.
        dtype: Its dtype.
        shape: Shape of its main input.
        seed: Seed of the inputs.
        device: Where it ran, ``"CPU"`` or ``"GPU"``.
        elements: Number of elements in the result.
        max_error_over_bound: Largest error divided by its bound. Above 1 the result is
            wrong; infinite where a NaN or infinity is missing, misplaced or unexpected.
        signed_mean_error: Mean error in units of the bound; near 0 when rounding is to
            nearest. NaN if nothing is finite.
        outward_mean_error: The same with the sign of the exact value taken out: negative
            when results are truncated, positive when they are too large.
        sha256: Hash of the bytes of the result, in C order.
        repeats: Whether a second run gave the same bytes.
        worst_index: Where the largest error over bound is.
        worst_computed: The value computed there.
        worst_exact: The exact value there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    seed: int
    device: str
    elements: int
    max_error_over_bound: float
    signed_mean_error: float
    outward_mean_error: float
    sha256: str
    repeats: bool
    worst_index: tuple[int, ...]
    worst_computed: float
    worst_exact: float

    @property
    def id(self) -> str:
        """The key of the probe in `PROBES`."""
        return f"{self.name}[{self.dtype}]"

    @property
    def within_bound(self) -> bool:
        """Whether every element is as close to the exact result as it must be."""
        return self.max_error_over_bound <= 1.0

    def to_dict(self) -> dict[str, Any]:
        """A dict for strict JSON: tuples as lists, non-finite numbers as strings."""
        return {key: _to_json(value) for key, value in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.id}: error over bound {self.max_error_over_bound:.3g} at "
            f"{list(self.worst_index)}: computed {self.worst_computed!r}, "
            f"exact {self.worst_exact!r}"
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


_CONVOLUTIONS: tuple[tuple[str, tuple[int, ...], int, tuple[int, int], bool], ...] = (
    # name, input shape, filters, kernel, whether the input comes from a ReLU
    ("tutorial-1", (4, 28, 28, 1), 32, (3, 3), False),
    ("tutorial-2", (4, 13, 13, 32), 64, (3, 3), True),
    ("tutorial-3", (4, 5, 5, 64), 64, (3, 3), True),
    ("odd", (3, 9, 7, 5), 7, (2, 3), True),
)
_DENSE: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("tutorial-1", (32, 576), 64),
    ("tutorial-2", (32, 64), 10),
    ("odd", (67, 13), 5),
)
_GRADIENTS = ("forward", "input_gradient", "kernel_gradient", "bias_gradient")
_REDUCTIONS: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("all", (8192,), (0,)),
    ("axis-0", (8192, 8), (0,)),
    ("axis-1", (8, 8192), (1,)),
    ("axes-012", (16, 13, 13, 8), (0, 1, 2)),
    ("axes-12", (4, 64, 64, 8), (1, 2)),
)


_LEADING_ROUTES = (
    *("sum-all", "sum-axis-0", "sum-axes-012", "dense-kernel-gradient"),
    *("conv2d-forward", "conv2d-kernel-gradient", "bias-gradient"),
)
_BY_LUCK = frozenset(
    {
        ("counting.conv2d-kernel-gradient.43264", "float16"),
        ("counting.conv2d-kernel-gradient.65536", "float16"),
    }
)
"""Left out: a CPU's caches decide whether these come out right (see `Counting`)."""


def _operations() -> Iterable[tuple[str, Operation, str]]:
    """Yields (name, operation, mode) of every probe that exists in all dtypes."""
    for name, shape, filters, kernel, post_relu in _CONVOLUTIONS:
        for output in _GRADIENTS:
            conv = Conv2D(shape, filters, kernel, output, post_relu=post_relu)
            yield f"conv2d.{name}.{output}", conv, "eager"
    # A batch of 64 sums 43,264 terms in the first layer's gradients.
    batch = Conv2D((64, 28, 28, 1), 32, output="kernel_gradient", one_sided_upstream=True)
    yield "conv2d.batch-64.kernel_gradient", batch, "eager"
    batch = dataclasses.replace(batch, output="bias_gradient")
    yield "conv2d.batch-64.bias_gradient", batch, "eager"
    # Graphs fuse convolution, bias and ReLU into one kernel.
    fused = Conv2D((4, 13, 13, 32), 64, activation="relu")
    yield "conv2d.fused-relu.forward", fused, "graph"
    for name, shape, units in _DENSE:
        for output in _GRADIENTS:
            yield f"dense.{name}.{output}", Dense(shape, units, output), "eager"
    yield "dense.graph.forward", Dense((32, 576), 64), "graph"
    yield "bias_add.images", BiasAdd((4, 13, 13, 32)), "eager"
    yield "bias_add.matrix", BiasAdd((32, 64)), "eager"
    for output in ("forward", "input_gradient"):
        for name, shape in (("tutorial-1", (4, 26, 26, 32)), ("tutorial-2", (4, 11, 11, 64))):
            yield f"max_pooling2d.{name}.{output}", MaxPooling2D(shape, output), "eager"
        yield f"relu.{output}", Relu((4, 26, 26, 32), output), "eager"
        yield f"softmax.{output}", Softmax((32, 10), output), "eager"
        yield f"cross_entropy.10-classes.{output}", CrossEntropy((32, 10), output), "eager"
        yield f"cross_entropy.100-classes.{output}", CrossEntropy((8, 100), output), "eager"
        yield f"cross_entropy.graph.{output}", CrossEntropy((32, 10), output), "graph"
    for name, shape, axes in _REDUCTIONS:
        yield f"reduce_sum.{name}", Reduction(shape, axes), "eager"
        yield f"reduce_mean.{name}", Reduction(shape, axes, mean=True), "eager"
    for route in COUNTING_ROUTES:
        for count in (4096, 43_264, 65_536):
            yield f"counting.{route}.{count}", Counting(route, count), "eager"
    for route in _LEADING_ROUTES:
        absorbed = Counting(route, 65_536, term=2.0**-12, first=2.0**11)
        yield f"counting.{route}.absorbed", absorbed, "eager"
    for output in ("weight", "momentum", "velocity"):
        yield f"adam.{output}", AdamUpdate(output=output), "eager"
    for route in ROUTES:
        for kind in VALUES:
            if kind == "overflow" and route in COPYING_ROUTES:
                continue  # nothing is computed there
            if kind == "nan" and route == "max-pooling":
                continue  # see MaxPoolingNan
            yield f"value.{kind}.{route}", Value(route, kind), "eager"


def _probes() -> Iterable[Probe]:
    for dtype in DTYPES:
        for name, operation, mode in _operations():
            if (name, dtype) not in _BY_LUCK:
                yield Probe(name, dtype, operation, mode)
        for source in DTYPES:
            yield Probe(f"cast.from-{source}.random", dtype, Cast(source))
            if get_format(source).significand_bits > get_format(dtype).significand_bits:
                yield Probe(f"cast.from-{source}.edges", dtype, Cast(source, "edges"))
        if dtype in ("float16", "bfloat16"):
            double = Cast("float64", "double-rounding")
            yield Probe("cast.from-float64.double-rounding", dtype, double)
        ties = (MaxPooling2D((4, 26, 26, 8), output, ties=True) for output in _GRADIENTS[:2])
        for operation in ties:
            # Which of several equal maxima gets the gradient is a convention.
            name = f"max_pooling2d.ties.{operation.output}"
            yield Probe(name, dtype, operation, cpu_only=operation.output != "forward")
        yield Probe("max_pooling2d.nan", dtype, MaxPoolingNan(), cpu_only=True)


PROBES: Mapping[str, Probe] = MappingProxyType({probe.id: probe for probe in _probes()})
"""Every probe by id."""


_DEFECTS: tuple[tuple[str, tuple[str, ...], bool, tuple[str, ...]], ...] = (
    # slug, dtypes, whether oneDNN has it too, patterns of probe names
    (
        "bias-gradient-bfloat16",
        ("bfloat16",),
        True,
        ("conv2d.*.bias_gradient", "dense.*.bias_gradient", "counting.bias-gradient.*"),
    ),
    (
        "conv2d-gradients-accumulate-in-half",
        ("float16", "bfloat16"),
        False,
        (
            "conv2d.*.input_gradient",
            "conv2d.tutorial-*.kernel_gradient",
            "conv2d.odd.kernel_gradient",
            "counting.conv2d-kernel-gradient.43264",
            "counting.conv2d-kernel-gradient.65536",
            "counting.conv2d-kernel-gradient.absorbed",
        ),
    ),
    (
        # bfloat16 loses more than float16, so fewer terms are enough.
        "conv2d-gradients-accumulate-in-half",
        ("bfloat16",),
        False,
        ("conv2d.batch-64.kernel_gradient", "counting.conv2d-kernel-gradient.4096"),
    ),
    (
        "matmul-bfloat16-truncates",
        ("bfloat16",),
        False,
        (
            "dense.*.forward",
            "dense.*.input_gradient",
            "dense.*.kernel_gradient",
            "counting.dense-kernel-gradient.absorbed",
        ),
    ),
    (
        "reduction-float16",
        ("float16",),
        True,
        (
            "reduce_*.axis-0",
            "reduce_*.axes-*",
            "counting.sum-axis-0.43264",
            "counting.sum-axis-0.65536",
            "counting.sum-axis-0.absorbed",
            "counting.sum-axes-012.43264",
            "counting.sum-axes-012.65536",
            "counting.sum-axes-012.absorbed",
            "counting.sum-axes-12.*",
            "counting.sum-all.absorbed",
        ),
    ),
    (
        "cast-from-float64-rounds-twice",
        ("float16", "bfloat16"),
        True,
        ("cast.from-float64.double-rounding",),
    ),
)


def known_defects(onednn_dtypes: Collection[str]) -> dict[str, str]:
    """Probes that exceed their bound on CPUs with TensorFlow 2.21 and Keras 3.15.

    Measured on x86-64 with AVX2 alone, and with AVX-512, where TensorFlow gives products and
    convolutions in bfloat16 to oneDNN, which does them right. GPUs are not concerned.

    Args:
        onednn_dtypes: The dtypes for which `cnnprec.environment.computed_by_onednn` holds.

    Returns:
        The name of the defect in docs/known-defects.md by the id of the probe.
    """
    return {
        probe.id: slug
        for probe in PROBES.values()
        for slug, dtypes, in_onednn, patterns in _DEFECTS
        if probe.dtype in dtypes
        and (in_onednn or probe.dtype not in onednn_dtypes)
        and any(fnmatch.fnmatchcase(probe.name, pattern) for pattern in patterns)
    }


def run_probe(
    probe: Probe,
    *,
    seed: int,
    accumulator: Accumulator | None = None,
    tensor_float_32: bool = False,
) -> ProbeResult:
    """Runs one probe twice on TensorFlow's default device.

    Args:
        probe: The probe, such as a value of `PROBES`.
        seed: Seed of the inputs. Each probe draws its own numbers from it.
        accumulator: Where dot products and sums keep partial sums. By default float64 for
            float64, and float32 otherwise, as tensor cores do it where there is a GPU.
        tensor_float_32: Whether float32 products may use TF32. This is what the result is
            held to; TensorFlow's own setting is left alone.

    Returns:
        The result, within its bound or not.
    """
    device = default_device()
    arithmetic = arithmetic_for(
        probe.dtype, tensor_cores=device == "GPU", tensor_float_32=tensor_float_32
    )
    if accumulator is not None:
        arithmetic = dataclasses.replace(arithmetic, accumulator=accumulator)
    rng = np.random.default_rng([seed, zlib.crc32(probe.id.encode())])
    inputs = probe.operation.draw(rng, probe.dtype)
    computed, again = _compute_twice(probe, inputs)
    found = discrepancy(computed, probe.operation.enclose(inputs, arithmetic))
    return ProbeResult(
        name=probe.name,
        dtype=probe.dtype,
        shape=probe.shape,
        seed=seed,
        device=device,
        elements=computed.size,
        sha256=hashlib.sha256(computed.tobytes()).hexdigest(),
        repeats=computed.tobytes() == again.tobytes(),
        **dataclasses.asdict(found),
    )


def _compute_twice(probe: Probe, inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any]]:
    """Runs the operation twice; a graph is traced once and run twice."""
    operation, dtype = probe.operation, probe.dtype
    source = operation.source if isinstance(operation, Cast) else dtype
    tensors = {
        name: tf.constant(
            values if values.dtype == np.int64 else values.astype(FORMATS[source].numpy_dtype)
        )
        for name, values in inputs.items()
    }
    run = operation.prepare(tensors, dtype)
    if probe.mode != "eager":
        run = tf.function(run, jit_compile=probe.mode == "xla", autograph=False)
    outputs = [run() for _ in range(2)]
    first, second = (np.asarray(output.numpy()) for output in outputs)
    return first, second


def run_probes(
    dtypes: Iterable[str] = DTYPES,
    names: Iterable[str] = ("*",),
    *,
    seed: int = 0,
    tensor_float_32: bool = False,
) -> tuple[ProbeResult, ...]:
    """Runs every probe of some dtypes whose name matches a pattern.

    Probes marked ``cpu_only`` are left out where there is a GPU.

    Args:
        dtypes: Names of dtypes.
        names: Names or shell-style patterns, such as ``"conv2d.*"``.
        seed: See `run_probe`.
        tensor_float_32: See `run_probe`.

    Raises:
        ValueError: A dtype is unknown or a pattern matches no probe. All of them are
            named at once.
    """
    chosen = select_probes(dtypes, names)
    on_cpu = default_device() == "CPU"
    return tuple(
        run_probe(probe, seed=seed, tensor_float_32=tensor_float_32)
        for probe in chosen
        if on_cpu or not probe.cpu_only
    )


def select_probes(
    dtypes: Iterable[str] = DTYPES, names: Iterable[str] = ("*",)
) -> tuple[Probe, ...]:
    """The probes that `run_probes` runs, in the order of `PROBES`.

    Raises:
        ValueError: As `run_probes`.
    """
    dtypes, names = tuple(dtypes), tuple(names)
    known = sorted({probe.name for probe in PROBES.values()})
    problems = [
        f"no probes for dtype {dtype!r}; there are some for {', '.join(DTYPES)}."
        for dtype in dtypes
        if dtype not in DTYPES
    ]
    for name in names:
        if not fnmatch.filter(known, name):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            problems.append(f"no probe matches {name!r}.{hint} Patterns such as 'conv2d.*' work.")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(
        probe
        for probe in PROBES.values()
        if probe.dtype in dtypes and any(fnmatch.fnmatchcase(probe.name, name) for name in names)
    )


def default_device() -> str:
    """Where TensorFlow places operations by default: ``"GPU"`` if there is one, or ``"CPU"``."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
