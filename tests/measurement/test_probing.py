"""Which probes a session runs, and what it says of TF32."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cnnprec.measurement import probing
from cnnprec.numerics.probes import select_probes
from cnnprec.numerics.run_probes import ProbeResult, default_device

pytestmark = pytest.mark.skipif(default_device() == "GPU", reason="a CPU is known to have no TF32")


def test_tf32_that_is_allowed_and_not_used_is_said_with_the_remedy():
    (text,) = probing.tf32_not_used()
    assert "no product rounded its operands" in text
    assert "NVIDIA_TF32_OVERRIDE" in text


def test_tf32_that_is_used_in_one_kind_of_product_is_used(monkeypatch):
    original = tf.matmul

    def rounded(x):
        bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.uint32), np.uint32(0xFFFFE000))
        return x + tf.stop_gradient(tf.bitcast(bits, tf.float32) - x)

    monkeypatch.setattr(tf, "matmul", lambda a, b, **_: original(rounded(a), rounded(b)))
    assert probing.tf32_not_used() == []


def _result(name: str, **change) -> ProbeResult:
    whole = {"dtype": "float32", "mode": "eager", "elements": 4, "sha256": "a" * 64}
    whole |= {"repeats": True, "known_defect": None, "max_error_over_bound": 0.5}
    whole |= {"signed_mean_error": 0.1, "outward_mean_error": -0.2, "worst_index": (0,)}
    return ProbeResult(name=name, **{**whole, "worst_computed": 1.0, "worst_exact": 1.0, **change})


def test_what_xla_compiled_has_rows_of_its_own():
    names = ("conv2d.odd.forward", "xla.conv2d.odd.forward", "xla.value.nan.relu")
    rows = probing.grouped(map(_result, names))
    assert [row.name for row in rows] == ["conv2d.forward", "xla.conv2d.forward", "xla.value"]


@pytest.mark.parametrize(
    ("level", "xla", "expected"),
    [
        ("quick", False, {"eager", "graph"}),
        ("quick", True, {"eager", "graph", "XLA"}),
        ("full", False, {"eager", "graph", "XLA"}),
    ],
)
def test_xla_compiles_probes_where_it_compiles_the_training_and_in_full(
    level, xla, expected, monkeypatch
):
    asked: list[list[str]] = []
    monkeypatch.setattr(probing, "run_probes", lambda _, names, **__: asked.append(names) or ())
    probing.probe.__wrapped__("float32", level, False, xla)
    selected = select_probes(["float32"], asked[0])
    assert {probe.mode for probe in selected} == expected
