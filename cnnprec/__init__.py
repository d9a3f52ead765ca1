"""cnnprec: what a floating-point precision costs in training, and whether anything changed.

Importing this package loads neither TensorFlow nor pytest; its modules load what they
need. Start with `cnnprec.training.train`, or with the pytest plugin
``cnnprec.pytest_plugin``.
"""

from cnnprec.precision import PRECISIONS, Precision, get_precision, parse_precisions

__all__ = ["PRECISIONS", "Precision", "__version__", "get_precision", "parse_precisions"]

__version__ = "0.1.0"
