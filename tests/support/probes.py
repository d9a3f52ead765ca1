"""One numeric probe alone."""

from typing import Any

from cnnprec.numerics.probes import Probe
from cnnprec.numerics.run_probes import ProbeResult, run_probes


def run_probe(probe: Probe, **options: Any) -> ProbeResult:
    """What a probe finds; the options are those of `run_probes`."""
    (result,) = run_probes([probe.dtype], [probe.name], **options)
    return result
