"""What a training precision is, which ones exist, and how their names are read."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cnnprec.text import comma_list, find_name


@dataclasses.dataclass(frozen=True)
class Precision:
    """The floating-point types in which a model is stored and computed."""

    name: str  # on the command line, in records and in tables
    variable_dtype: str  # of weights, biases and optimizer slots, such as ``"float32"``
    compute_dtype: str  # of activations and gradients inside the layers
    loss_scaling: bool = False  # whether it is dynamic, which only float16's range needs
    # Whether a GPU may round the operands of float32 matrix products and convolutions to TF32,
    # which TensorFlow allows by default.
    tensor_float_32: bool = False
    # Hyper-parameters of Adam that differ from Keras' defaults.
    optimizer_overrides: tuple[tuple[str, float], ...] = ()
    xla: bool = False  # whether XLA compiles the training step whatever ``--jit`` says

    @property
    def policy_name(self) -> str:
        """The name of the Keras dtype policy, such as ``"mixed_float16"``."""
        mixed = self.variable_dtype != self.compute_dtype
        return f"mixed_{self.compute_dtype}" if mixed else self.compute_dtype

    @property
    def loss_dtype(self) -> str:
        """The type the loss is computed in; Keras' own, float32, would round double's gradients."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def __str__(self) -> str:
        return self.name


_ROWS = (
    Precision("double", "float64", "float64"),
    Precision("single", "float32", "float32"),
    Precision("tf32", "float32", "float32", tensor_float_32=True),
    Precision("half", "float16", "float16"),
    Precision("mixed_half", "float32", "float16", loss_scaling=True),
    Precision("bfloat16", "bfloat16", "bfloat16"),
    Precision("mixed_bfloat16", "float32", "bfloat16"),
    # The smallest power of ten that float16 holds as a normal number. Keras' 1e-7 is subnormal
    # there and lets m / (sqrt(v) + epsilon) reach 500 where v underflowed.
    Precision("half_stable", "float16", "float16", optimizer_overrides=(("epsilon", 1e-4),)),
    # 255/256, the largest bfloat16 below 1. Keras' 0.999 rounds to 1.
    Precision(
        "bfloat16_stable", "bfloat16", "bfloat16", optimizer_overrides=(("beta_2", 0.99609375),)
    ),
)

PRECISIONS: Mapping[str, Precision] = MappingProxyType({row.name: row for row in _ROWS})
"""Every precision by name, in the order of the tables."""


XLA = "_xla"  # the end of the name of a precision compiled by XLA


def with_and_without_xla(precisions: Iterable[Precision]) -> tuple[Precision, ...]:
    """Each precision as it is, and behind it the same compiled by XLA, named ``NAME_xla``."""
    rows: dict[str, Precision] = {}
    for plain in precisions:
        rows[plain.name] = plain
        if not plain.xla:
            rows[plain.name + XLA] = dataclasses.replace(plain, name=plain.name + XLA, xla=True)
    return tuple(rows.values())


KNOWN: Mapping[str, Precision] = MappingProxyType(
    {row.name: row for row in with_and_without_xla(_ROWS)}
)
"""All that can be asked for by name: `PRECISIONS`, and each of them compiled by XLA."""


def rank(name: str) -> tuple[int, str]:
    """Sorts names as in the tables; those that saved sessions alone know come last."""
    return list(KNOWN).index(name) if name in KNOWN else len(KNOWN), name


_OTHER_NAMES = {
    "double": ("float64", "fp64", "f64"),
    "single": ("float32", "fp32", "f32"),
    "tf32": ("tensorfloat32", "tensor_float_32"),
    "half": ("float16", "fp16", "f16"),
    "mixed_half": ("mixed", "mixed_float16", "mixed_fp16"),
    "bfloat16": ("bf16",),
    "mixed_bfloat16": ("mixed_bf16",),
    "half_stable": ("fp16_stable", "float16_stable"),
    "bfloat16_stable": ("bf16_stable",),
}
ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: name for name, aliases in _OTHER_NAMES.items() for alias in aliases}
)
"""Other spellings of the names, as users of NumPy, TensorFlow and CUDA know them."""


def get_precision(name: str) -> Precision:
    """The row of `KNOWN` with this name or alias, or a ValueError; case, - and _ do not matter."""
    key = name.strip().lower().replace("-", "_")
    found = find_name(key.removesuffix(XLA), PRECISIONS, ALIASES, "precision")
    return KNOWN[found + XLA if key.endswith(XLA) else found]


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Reads a comma-separated list of names or aliases, as given to ``--precision``.

    The order is kept; a precision named twice counts once. A ValueError names every unknown one.
    """
    return comma_list(text, get_precision)


def format_precisions(precisions: Iterable[Precision]) -> str:
    """The inverse of `parse_precisions`."""
    return ",".join(precision.name for precision in precisions)
