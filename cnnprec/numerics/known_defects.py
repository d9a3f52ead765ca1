"""Probes that TensorFlow gets wrong today."""

import fnmatch
import functools
from collections.abc import Mapping

from cnnprec.numerics.onednn import computed_by_onednn
from cnnprec.numerics.probes import PROBES

_OWN, _ONEDNN, _GPU = "TensorFlow's own kernels", "oneDNN", "GPU"
_CPUS, _ALL = (_OWN, _ONEDNN), (_OWN, _ONEDNN, _GPU)
_CONV2D = "conv2d-gradients-accumulate-in-half"
_BFLOAT16, _HALVES = ("bfloat16",), ("float16", "bfloat16")

_DEFECTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    # section, dtypes, what computes, probes; ?????* are the counts above 4096
    ("bias-gradient-bfloat16", _BFLOAT16, _CPUS, "conv2d.*.bias_gradient"),
    ("bias-gradient-bfloat16", _BFLOAT16, _CPUS, "dense.*.bias_gradient"),
    ("bias-gradient-bfloat16", _BFLOAT16, _CPUS, "counting.bias-gradient.*"),
    ("bias-gradient-on-gpus", _HALVES, (_GPU,), "conv2d.*.bias_gradient"),
    ("bias-gradient-on-gpus", _HALVES, (_GPU,), "dense.*.bias_gradient"),
    ("bias-gradient-on-gpus", _HALVES, (_GPU,), "counting.bias-gradient.*"),
    (_CONV2D, _HALVES, (_OWN,), "conv2d.*.input_gradient"),
    (_CONV2D, _HALVES, (_OWN,), "conv2d.tutorial-*.kernel_gradient"),
    (_CONV2D, _HALVES, (_OWN,), "conv2d.odd.kernel_gradient"),
    (_CONV2D, _HALVES, (_OWN,), "counting.conv2d-kernel-gradient.?????*"),
    # bfloat16 loses more than float16, so fewer terms are enough.
    (_CONV2D, _BFLOAT16, (_OWN,), "conv2d.batch-64.kernel_gradient"),
    (_CONV2D, _BFLOAT16, (_OWN,), "counting.conv2d-kernel-gradient.4096"),
    ("matmul-bfloat16-truncates", _BFLOAT16, (_OWN,), "dense.*.forward"),
    ("matmul-bfloat16-truncates", _BFLOAT16, (_OWN,), "dense.*.input_gradient"),
    ("matmul-bfloat16-truncates", _BFLOAT16, (_OWN,), "dense.*.kernel_gradient"),
    ("matmul-bfloat16-truncates", _BFLOAT16, (_OWN,), "counting.dense-kernel-gradient.absorbed"),
    ("reduction-float16", ("float16",), _CPUS, "reduce_*.axis-0"),
    ("reduction-float16", ("float16",), _CPUS, "reduce_*.axes-*"),
    ("reduction-float16", ("float16",), _CPUS, "counting.sum-axis-0.?????*"),
    ("reduction-float16", ("float16",), _CPUS, "counting.sum-axes-012.?????*"),
    ("reduction-float16", ("float16",), _CPUS, "counting.sum-axes-12.*"),
    ("reduction-float16", ("float16",), _CPUS, "counting.sum-all.absorbed"),
    ("reduction-float16", ("float16",), (_GPU,), "counting.sum-*.absorbed"),
    ("cast-from-float64-rounds-twice", ("float16",), _CPUS, "cast.from-float64.double-rounding"),
    ("cast-from-float64-rounds-twice", _BFLOAT16, _ALL, "cast.from-float64.double-rounding"),
    ("cast-from-float64-rounds-twice", _HALVES, _CPUS, "xla.cast.from-float64.double-rounding"),
)


@functools.cache
def known_defects(on_gpu: bool = False) -> Mapping[str, str]:
    """Sections of docs/known-defects.md, by the ids of the probes that exceed their bound here.

    Measured with TensorFlow 2.21 and Keras 3.15 on x86-64, and on one GPU (docs/gpu.md). With
    AVX-512 TensorFlow gives products and convolutions in bfloat16 to oneDNN, which does them right.
    """
    computing = {d: _ONEDNN if computed_by_onednn(d) else _OWN for d in _HALVES}
    return {
        probe.id: slug
        for probe in PROBES.values()
        for slug, dtypes, places, pattern in _DEFECTS
        if probe.dtype in dtypes
        and (_GPU if on_gpu else computing[probe.dtype]) in places
        and fnmatch.fnmatchcase(probe.name, pattern)
    }
