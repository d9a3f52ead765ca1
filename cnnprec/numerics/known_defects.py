"""Probes that TensorFlow gets wrong today."""

import fnmatch
import functools
from collections.abc import Mapping

from cnnprec.numerics.onednn import computed_by_onednn
from cnnprec.numerics.probes import PROBES

_CONV2D = "conv2d-gradients-accumulate-in-half"
_BFLOAT16, _HALVES = ("bfloat16",), ("float16", "bfloat16")

_DEFECTS: tuple[tuple[str, tuple[str, ...], bool, str], ...] = (
    # section, dtypes, whether oneDNN has it too, probes; ?????* are the counts above 4096
    ("bias-gradient-bfloat16", _BFLOAT16, True, "conv2d.*.bias_gradient"),
    ("bias-gradient-bfloat16", _BFLOAT16, True, "dense.*.bias_gradient"),
    ("bias-gradient-bfloat16", _BFLOAT16, True, "counting.bias-gradient.*"),
    (_CONV2D, _HALVES, False, "conv2d.*.input_gradient"),
    (_CONV2D, _HALVES, False, "conv2d.tutorial-*.kernel_gradient"),
    (_CONV2D, _HALVES, False, "conv2d.odd.kernel_gradient"),
    (_CONV2D, _HALVES, False, "counting.conv2d-kernel-gradient.?????*"),
    # bfloat16 loses more than float16, so fewer terms are enough.
    (_CONV2D, _BFLOAT16, False, "conv2d.batch-64.kernel_gradient"),
    (_CONV2D, _BFLOAT16, False, "counting.conv2d-kernel-gradient.4096"),
    ("matmul-bfloat16-truncates", _BFLOAT16, False, "dense.*.forward"),
    ("matmul-bfloat16-truncates", _BFLOAT16, False, "dense.*.input_gradient"),
    ("matmul-bfloat16-truncates", _BFLOAT16, False, "dense.*.kernel_gradient"),
    ("matmul-bfloat16-truncates", _BFLOAT16, False, "counting.dense-kernel-gradient.absorbed"),
    ("reduction-float16", ("float16",), True, "reduce_*.axis-0"),
    ("reduction-float16", ("float16",), True, "reduce_*.axes-*"),
    ("reduction-float16", ("float16",), True, "counting.sum-axis-0.?????*"),
    ("reduction-float16", ("float16",), True, "counting.sum-axes-012.?????*"),
    ("reduction-float16", ("float16",), True, "counting.sum-axes-12.*"),
    ("reduction-float16", ("float16",), True, "counting.sum-all.absorbed"),
    ("cast-from-float64-rounds-twice", _HALVES, True, "cast.from-float64.double-rounding"),
    ("cast-from-float64-rounds-twice", _HALVES, True, "xla.cast.from-float64.double-rounding"),
)


@functools.cache
def known_defects() -> Mapping[str, str]:
    """Sections of docs/known-defects.md, by the ids of the probes that exceed their bound here.

    Measured on x86-64 with TensorFlow 2.21 and Keras 3.15. With AVX-512 TensorFlow gives products
    and convolutions in bfloat16 to oneDNN, which does them right.
    """
    right = set(filter(computed_by_onednn, _HALVES))
    return {
        probe.id: slug
        for probe in PROBES.values()
        for slug, dtypes, in_onednn, pattern in _DEFECTS
        if probe.dtype in dtypes
        and (in_onednn or probe.dtype not in right)
        and fnmatch.fnmatchcase(probe.name, pattern)
    }
