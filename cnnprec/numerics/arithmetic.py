"""The rules that a computation is held to: format, accumulator, subnormals."""

import dataclasses

import numpy as np

from cnnprec.precision.formats import FloatFormat, get_format

SAFETY = 1.0 + 2.0**-30  # covers the rounding of the bounds themselves (docs/bounds.md)


def gamma(terms: int, unit_roundoff: float) -> float:
    """Higham's gamma_n = n u / (1 - n u), the relative error of n roundings; ValueError at 1."""
    product = terms * unit_roundoff
    if terms < 0 or product >= 1:
        raise ValueError(
            f"gamma needs 0 <= n * u < 1, got n = {terms} and u = {unit_roundoff}; "
            "sum fewer terms or use a wider accumulator."
        )
    return product / (1.0 - product)


# Largest relative error of one addition, by where the partial sums of a dot product are kept.
# Tensor cores truncate the float32 sum instead of rounding it (docs/bounds.md).
ACCUMULATORS = {"float32": 2.0**-24, "tensor_core": 2.0**-23, "float64": 2.0**-53}


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """The rules that a computation is held to."""

    format: FloatFormat  # of operands and results
    accumulator: float  # unit roundoff of the partial sums of dot products and sums
    tensor_float_32: bool = False  # whether operands of float32 products may be rounded to TF32
    flushes_subnormals: bool = False  # whether results below the smallest normal may become zero

    @property
    def underflow(self) -> float:
        """Largest absolute error of one operation whose result underflows."""
        if self.flushes_subnormals:
            return self.format.smallest_normal
        return self.format.smallest_subnormal / 2

    @property
    def reference_dtype(self) -> type[np.float64] | type[np.longdouble]:
        """NumPy type in which the reference of this format is computed."""
        return np.longdouble if self.format.name == "float64" else np.float64

    @property
    def reference_unit_roundoff(self) -> float:
        """Unit roundoff of `reference_dtype`."""
        return float(np.finfo(self.reference_dtype).eps) / 2


def arithmetic_for(
    dtype: str, *, tensor_cores: bool = False, tensor_float_32: bool = False
) -> Arithmetic:
    """The rules that TensorFlow's documentation lets one expect for a dtype."""
    fmt = get_format(dtype)
    tf32 = tensor_float_32 and dtype == "float32"
    accumulator = "float64" if dtype == "float64" else "float32"
    if tensor_cores and (dtype in ("float16", "bfloat16") or tf32):
        accumulator = "tensor_core"
    return Arithmetic(fmt, ACCUMULATORS[accumulator], tf32, fmt.flushes_subnormals)
