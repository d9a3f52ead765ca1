"""Numeric probes: single operations of TensorFlow and Keras, held to derived bounds.

A probe draws representable inputs from a seed, runs one operation in one dtype, and compares the
result with a reference in NumPy: above its bound it is wrong, not noisy. Each has a twin that XLA
compiles, whose name begins with ``xla.``.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from cnnprec.numerics.adam import AdamUpdate
from cnnprec.numerics.layers import BiasAdd, CrossEntropy, MaxPooling2D, Relu, Softmax, Weighted
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


_ALL = ("forward", "input_gradient", "kernel_gradient", "bias_gradient")
_BOTH = _ALL[:2]

_LAYERS: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    # name, operation, what is looked at
    ("conv2d.tutorial-1", Weighted((4, 28, 28, 1), 32, (3, 3), post_relu=False), _ALL),
    ("conv2d.tutorial-2", Weighted((4, 13, 13, 32), 64, (3, 3)), _ALL),
    ("conv2d.tutorial-3", Weighted((4, 5, 5, 64), 64, (3, 3)), _ALL),
    ("conv2d.odd", Weighted((3, 9, 7, 5), 7, (2, 3)), _ALL),
    # A batch of 64 sums 43,264 terms in the first layer's gradients.
    ("conv2d.batch-64", Weighted((64, 28, 28, 1), 32, (3, 3), one_sided_upstream=True), _ALL[2:]),
    ("conv2d.fused-relu", Weighted((4, 13, 13, 32), 64, (3, 3), activation="relu"), _ALL[:1]),
    ("dense.tutorial-1", Weighted((32, 576), 64), _ALL),
    ("dense.tutorial-2", Weighted((32, 64), 10), _ALL),
    ("dense.odd", Weighted((67, 13), 5), _ALL),
    ("dense.graph", Weighted((32, 576), 64), _ALL[:1]),
    ("max_pooling2d.tutorial-1", MaxPooling2D((4, 26, 26, 32)), _BOTH),
    ("max_pooling2d.tutorial-2", MaxPooling2D((4, 11, 11, 64)), _BOTH),
    ("max_pooling2d.ties", MaxPooling2D((4, 26, 26, 8), ties=True), _BOTH),
    ("relu", Relu((4, 26, 26, 32)), _BOTH),
    ("softmax", Softmax((32, 10)), _BOTH),
    ("cross_entropy.10-classes", CrossEntropy((32, 10)), _BOTH),
    ("cross_entropy.100-classes", CrossEntropy((8, 100)), _BOTH),
    ("cross_entropy.graph", CrossEntropy((32, 10)), _BOTH),
    ("adam", AdamUpdate(), ("weight", "momentum", "velocity")),
)

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

# A convention that CPUs have: which of several equal maxima gets the gradient.
_ON_CPUS = "max_pooling2d.ties.input_gradient"

_BY_LUCK = [f"counting.conv2d-kernel-gradient.{n}[float16]" for n in (43_264, 65_536)]
"""Left out: a CPU's caches decide whether these come out right (docs/bounds.md)."""


def _operations() -> Iterable[tuple[str, Operation]]:
    for name, operation, outputs in _LAYERS:
        for output in outputs:
            yield f"{name}.{output}", dataclasses.replace(operation, output=output)
    yield "bias_add.images", BiasAdd((4, 13, 13, 32))
    yield "bias_add.matrix", BiasAdd((32, 64))
    for name, shape, axes in _REDUCTIONS:
        yield f"reduce_sum.{name}", Reduction(shape, axes)
        yield f"reduce_mean.{name}", Reduction(shape, axes, mean=True)
    for route in COUNTING_ROUTES:
        for count in (4096, 43_264, 65_536):
            yield f"counting.{route}.{count}", Counting(route, count)
    for route in _LEADING_ROUTES:
        absorbed = Counting(route, 65_536, term=2.0**-12, first=2.0**11)
        yield f"counting.{route}.absorbed", absorbed
    for route in ROUTES:
        for kind in VALUES:
            if kind == "overflow" and route in COPYING_ROUTES:
                continue  # nothing is computed there
            if kind == "nan" and route == "max-pooling":
                continue  # a CPU drops it, and others may not
            yield f"value.{kind}.{route}", Value(route, kind)


def _casts(dtype: str) -> Iterable[tuple[str, Operation]]:
    for source in DTYPES:
        yield f"cast.from-{source}.random", Cast(source)
        if get_format(source).significand_bits > get_format(dtype).significand_bits:
            yield f"cast.from-{source}.edges", Cast(source, "edges")
    if dtype in ("float16", "bfloat16"):
        yield "cast.from-float64.double-rounding", Cast("float64", "double-rounding")


def _probes() -> Iterable[Probe]:
    for dtype in DTYPES:
        for name, operation in (*_operations(), *_casts(dtype)):
            mode = "graph" if name.startswith(_IN_GRAPHS) else "eager"
            probe = Probe(name, dtype, operation, mode, cpu_only=name == _ON_CPUS)
            if probe.id not in _BY_LUCK:
                yield probe


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
