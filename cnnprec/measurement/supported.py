"""Which precisions the device can compute in, told without TensorFlow."""

from __future__ import annotations

from cnnprec.machine.gpu import query_gpus
from cnnprec.precision.precisions import PRECISIONS, Precision

LEVELS = ("off", "quick", "full")
"""How much is probed: nothing, the probes that take milliseconds, or all of them."""


def supported_precisions(device: str) -> tuple[Precision, ...]:
    """All that ``auto``, ``cpu``, ``gpu`` or ``gpu:N`` supports, in the order of the tables."""
    # NVML answers in milliseconds; loading TensorFlow for --collect-only would take seconds.
    gpus = () if device == "cpu" else query_gpus()
    tf32 = any((gpu.compute_capability or (0, 0)) >= (8, 0) for gpu in gpus)
    return tuple(p for p in PRECISIONS.values() if tf32 or not p.tensor_float_32)
