"""cnnprec: what a floating-point precision costs in training, and whether anything changed.

>>> import cnnprec
>>> records = cnnprec.measure("single,mixed_half")   # doctest: +SKIP

Importing this package loads neither TensorFlow nor NumPy nor pytest; a name loads what it needs
when it is first used. docs/python.md shows them at work.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnprec.measurement.measure import measure
    from cnnprec.numerics.run_probes import run_probes
    from cnnprec.precision.precisions import PRECISIONS, Precision, get_precision, parse_precisions
    from cnnprec.records.read_sessions import read_sessions
    from cnnprec.training.model import build_model
    from cnnprec.training.trainer import train
    from cnnprec.verdicts.judge_saved import compare_sessions as compare
    from cnnprec.workload.load_dataset import load_dataset

__version__ = "0.1.0"

__all__ = [
    "PRECISIONS",
    "Precision",
    "__version__",
    "build_model",
    "compare",
    "get_precision",
    "load_dataset",
    "measure",
    "parse_precisions",
    "read_sessions",
    "run_probes",
    "train",
]

_HOMES = {
    "PRECISIONS": "precision.precisions",
    "Precision": "precision.precisions",
    "build_model": "training.model",
    "compare": "verdicts.judge_saved",
    "get_precision": "precision.precisions",
    "load_dataset": "workload.load_dataset",
    "measure": "measurement.measure",
    "parse_precisions": "precision.precisions",
    "read_sessions": "records.read_sessions",
    "run_probes": "numerics.run_probes",
    "train": "training.trainer",
}
_OTHER_NAMES = {"compare": "compare_sessions"}


def __getattr__(name: str) -> Any:
    """Loads a name of `__all__` from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(
            f"module 'cnnprec' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    module = importlib.import_module(f"cnnprec.{_HOMES[name]}")
    value = getattr(module, _OTHER_NAMES.get(name, name))
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return __all__
