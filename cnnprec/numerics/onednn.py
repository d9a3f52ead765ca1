"""Whether TensorFlow computes with oneDNN on this CPU, which decides which kernels run."""

import tensorflow as tf


def onednn_enabled() -> bool:
    """Whether TensorFlow uses oneDNN's kernels on this CPU."""
    # TensorFlow has no public way to ask; the switch is the variable TF_ENABLE_ONEDNN_OPTS,
    # but its default depends on the processor.
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def computed_by_onednn(dtype: str) -> bool:
    """Whether TensorFlow gives operations in this dtype to oneDNN's kernels on this CPU.

    It supports bfloat16 since AVX-512, float16 since AVX512-FP16, but not in every operation.
    """
    from tensorflow.python.util import _pywrap_utils

    supported = _pywrap_utils.IsDataTypeSupportedByOneDNNOnThisCPU(tf.as_dtype(dtype))
    return onednn_enabled() and bool(supported)
