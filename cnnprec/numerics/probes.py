"""Numeric probes: single operations of TensorFlow and Keras, held to derived bounds.

A probe draws representable inputs from a seed, runs one operation in one dtype, and compares the
result with a reference in NumPy: above its bound it is wrong, not noisy. Each has a twin that XLA
compiles, whose name begins with ``xla.``.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cnnprec.numerics.adam import AdamUpdate
from cnnprec.numerics.layers import (
    BiasAdd,
    Conv2D,
    CrossEntropy,
    Dense,
    MaxPooling2D,
    Relu,
    Softmax,
)
from cnnprec.numerics.operation import Operation
from cnnprec.numerics.sums_and_casts import COUNTING_ROUTES, Cast, Counting, Reduction
from cnnprec.numerics.values import COPYING_ROUTES, ROUTES, VALUES, Value
from cnnprec.precision.formats import FORMATS, get_format
from cnnprec.text import did_you_mean

DTYPES = tuple(FORMATS)  # the dtypes that probes exist for


@dataclasses.dataclass(frozen=True)
class Probe:
    """One operation in one dtype."""

    name: str  # what is computed, such as ``"conv2d.tutorial-1.kernel_gradient"``
    dtype: str  # of operands and result; for casts, of the result
    operation: Operation
    mode: str = "eager"  # or ``"graph"``, in a `tf.function`, or ``"XLA"``, which compiles that
    cpu_only: bool = False  # whether it expects a convention of CPUs, which others may break

    @property
    def id(self) -> str:
        """The key in `PROBES`, such as ``"relu.forward[float16]"``."""
        return f"{self.name}[{self.dtype}]"


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

# Graphs fuse convolution, bias and ReLU into one kernel.
_IN_GRAPHS = ("conv2d.fused-relu.", "dense.graph.", "cross_entropy.graph.")

_BY_LUCK = frozenset(
    {
        ("counting.conv2d-kernel-gradient.43264", "float16"),
        ("counting.conv2d-kernel-gradient.65536", "float16"),
    }
)
"""Left out: a CPU's caches decide whether these come out right (docs/bounds.md)."""


def _operations() -> Iterable[tuple[str, Operation]]:
    for name, shape, filters, kernel, post_relu in _CONVOLUTIONS:
        for output in _GRADIENTS:
            conv = Conv2D(shape, filters, kernel, output, post_relu=post_relu)
            yield f"conv2d.{name}.{output}", conv
    # A batch of 64 sums 43,264 terms in the first layer's gradients.
    for output in ("kernel_gradient", "bias_gradient"):
        batch = Conv2D((64, 28, 28, 1), 32, output=output, one_sided_upstream=True)
        yield f"conv2d.batch-64.{output}", batch
    yield "conv2d.fused-relu.forward", Conv2D((4, 13, 13, 32), 64, activation="relu")
    for name, shape, units in _DENSE:
        for output in _GRADIENTS:
            yield f"dense.{name}.{output}", Dense(shape, units, output)
    yield "dense.graph.forward", Dense((32, 576), 64)
    yield "bias_add.images", BiasAdd((4, 13, 13, 32))
    yield "bias_add.matrix", BiasAdd((32, 64))
    for output in _GRADIENTS[:2]:
        yield f"max_pooling2d.tutorial-1.{output}", MaxPooling2D((4, 26, 26, 32), output)
        yield f"max_pooling2d.tutorial-2.{output}", MaxPooling2D((4, 11, 11, 64), output)
        yield f"relu.{output}", Relu((4, 26, 26, 32), output)
        yield f"softmax.{output}", Softmax((32, 10), output)
        yield f"cross_entropy.10-classes.{output}", CrossEntropy((32, 10), output)
        yield f"cross_entropy.100-classes.{output}", CrossEntropy((8, 100), output)
        yield f"cross_entropy.graph.{output}", CrossEntropy((32, 10), output)
    for name, shape, axes in _REDUCTIONS:
        yield f"reduce_sum.{name}", Reduction(shape, axes)
        yield f"reduce_mean.{name}", Reduction(shape, axes, mean=True)
    for route in COUNTING_ROUTES:
        for count in (4096, 43_264, 65_536):
            yield f"counting.{route}.{count}", Counting(route, count)
    for route in _LEADING_ROUTES:
        absorbed = Counting(route, 65_536, term=2.0**-12, first=2.0**11)
        yield f"counting.{route}.absorbed", absorbed
    for output in ("weight", "momentum", "velocity"):
        yield f"adam.{output}", AdamUpdate(output=output)
    for route in ROUTES:
        for kind in VALUES:
            if kind == "overflow" and route in COPYING_ROUTES:
                continue  # nothing is computed there
            if kind == "nan" and route == "max-pooling":
                continue  # a CPU drops it, and others may not
            yield f"value.{kind}.{route}", Value(route, kind)


def _probes() -> Iterable[Probe]:
    for dtype in DTYPES:
        for name, operation in _operations():
            if (name, dtype) not in _BY_LUCK:
                mode = "graph" if name.startswith(_IN_GRAPHS) else "eager"
                yield Probe(name, dtype, operation, mode)
        for source in DTYPES:
            yield Probe(f"cast.from-{source}.random", dtype, Cast(source))
            if get_format(source).significand_bits > get_format(dtype).significand_bits:
                yield Probe(f"cast.from-{source}.edges", dtype, Cast(source, "edges"))
        if dtype in ("float16", "bfloat16"):
            double = Cast("float64", "double-rounding")
            yield Probe("cast.from-float64.double-rounding", dtype, double)
        for output in _GRADIENTS[:2]:
            ties = MaxPooling2D((4, 26, 26, 8), output, ties=True)
            # Which of several equal maxima gets the gradient is a convention.
            convention = output != "forward"
            yield Probe(f"max_pooling2d.ties.{output}", dtype, ties, cpu_only=convention)


_PLAIN = tuple(_probes())
_COMPILED = tuple(
    dataclasses.replace(probe, name=f"xla.{probe.name}", mode="XLA")
    for probe in _PLAIN
    if ".graph." not in probe.name  # which compiled are the eager ones once more
)
PROBES: Mapping[str, Probe] = MappingProxyType({p.id: p for p in (*_PLAIN, *_COMPILED)})  # by id

_LONG = ("conv2d.batch-64.kernel_gradient", ".65536")
QUICK = sorted({p.name for p in _PLAIN if not p.name.endswith(_LONG)})
"""Names of the probes but for the longest sums and XLA: a few seconds for each dtype."""

_SMALL = (
    *("conv2d.odd.", "dense.odd.", "bias_add.", "max_pooling2d.tutorial-2.", "relu.", "softmax."),
    *("cross_entropy.10-classes.", "adam.weight", "value."),
)
QUICK_XLA = sorted({f"xla.{p.name}" for p in _PLAIN if p.name.startswith(_SMALL)})
"""Names of probes of every kind of layer, which XLA compiles in a few seconds for each dtype."""


def select_probes(
    dtypes: Iterable[str] = DTYPES, names: Iterable[str] = ("*",)
) -> tuple[Probe, ...]:
    """The probes that `run_probes` runs, in the order of `PROBES`, or its ValueError."""
    dtypes, names = [get_format(dtype).name for dtype in dtypes], tuple(names)
    known = {probe.name for probe in PROBES.values()}
    for name in names:
        if not fnmatch.filter(known, name):
            hint = did_you_mean(name, known)
            raise ValueError(f"no probe matches {name!r}.{hint} Patterns such as 'conv2d.*' work.")
    return tuple(
        probe
        for probe in PROBES.values()
        if probe.dtype in dtypes and any(fnmatch.fnmatchcase(probe.name, name) for name in names)
    )
