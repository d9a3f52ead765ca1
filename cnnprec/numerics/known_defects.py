"""Probes that TensorFlow gets wrong today."""

import fnmatch
from collections.abc import Collection

from cnnprec.numerics.probes import PROBES

_LONG = ("43264", "65536", "absorbed")  # the counting probes of many terms

_DEFECTS: tuple[tuple[str, tuple[str, ...], bool, tuple[str, ...]], ...] = (
    # slug, dtypes, whether oneDNN has it too, patterns of probe names
    (
        *("bias-gradient-bfloat16", ("bfloat16",), True),
        ("conv2d.*.bias_gradient", "dense.*.bias_gradient", "counting.bias-gradient.*"),
    ),
    (
        *("conv2d-gradients-accumulate-in-half", ("float16", "bfloat16"), False),
        (
            *("conv2d.*.input_gradient", "conv2d.tutorial-*.kernel_gradient"),
            "conv2d.odd.kernel_gradient",
            *(f"counting.conv2d-kernel-gradient.{terms}" for terms in _LONG),
        ),
    ),
    (
        # bfloat16 loses more than float16, so fewer terms are enough.
        *("conv2d-gradients-accumulate-in-half", ("bfloat16",), False),
        ("conv2d.batch-64.kernel_gradient", "counting.conv2d-kernel-gradient.4096"),
    ),
    (
        *("matmul-bfloat16-truncates", ("bfloat16",), False),
        (
            *("dense.*.forward", "dense.*.input_gradient", "dense.*.kernel_gradient"),
            "counting.dense-kernel-gradient.absorbed",
        ),
    ),
    (
        *("reduction-float16", ("float16",), True),
        (
            *("reduce_*.axis-0", "reduce_*.axes-*"),
            *(f"counting.sum-{axes}.{terms}" for axes in ("axis-0", "axes-012") for terms in _LONG),
            *("counting.sum-axes-12.*", "counting.sum-all.absorbed"),
        ),
    ),
    (
        *("cast-from-float64-rounds-twice", ("float16", "bfloat16"), True),
        ("cast.from-float64.double-rounding", "xla.cast.from-float64.double-rounding"),
    ),
)


def known_defects(onednn_dtypes: Collection[str]) -> dict[str, str]:
    """Sections of docs/known-defects.md, by the ids of the probes that exceed their bound on CPUs.

    Measured on x86-64 with TensorFlow 2.21 and Keras 3.15. With AVX-512 TensorFlow gives products
    and convolutions in bfloat16 to oneDNN, which does them right.
    """
    return {
        probe.id: slug
        for probe in PROBES.values()
        for slug, dtypes, in_onednn, patterns in _DEFECTS
        if probe.dtype in dtypes
        and (in_onednn or probe.dtype not in onednn_dtypes)
        and any(fnmatch.fnmatchcase(probe.name, pattern) for pattern in patterns)
    }
