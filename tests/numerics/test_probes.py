"""The table of probes, and the inputs that they draw."""

from __future__ import annotations

import numpy as np
import pytest

from cnnprec.numerics.probes import DTYPES, PROBES, select_probes
from cnnprec.numerics.run_probes import run_probe
from cnnprec.precision.formats import round_to

SEED = 0


def test_every_operation_has_probes_in_every_dtype():
    families = {
        "conv2d",
        "dense",
        "bias_add",
        "max_pooling2d",
        "relu",
        "softmax",
        "cross_entropy",
        "reduce_sum",
        "reduce_mean",
        "counting",
        "cast",
        "adam",
        "value",
    }
    for dtype in DTYPES:
        assert {p.name.split(".")[0] for p in select_probes([dtype])} == families


def test_keys_are_the_ids_of_the_probes():
    assert all(key == probe.id for key, probe in PROBES.items())


def test_selection_takes_patterns_and_keeps_the_order():
    chosen = select_probes(["float32", "float16"], ["relu.*", "dense.odd.forward"])
    assert [probe.id for probe in chosen] == [
        "dense.odd.forward[float16]",
        "relu.forward[float16]",
        "relu.input_gradient[float16]",
        "dense.odd.forward[float32]",
        "relu.forward[float32]",
        "relu.input_gradient[float32]",
    ]


def test_selection_refuses_unknown_dtypes_and_names():
    with pytest.raises(ValueError, match="'float8'; known formats"):
        select_probes(["float8"])
    with pytest.raises(ValueError, match=r"'relu.forwrd'\. Did you mean 'relu.forward'"):
        select_probes(["float16"], ["relu.forwrd"])


def test_probes_of_one_seed_draw_different_numbers():
    probes = [PROBES[f"conv2d.odd.{output}[float32]"] for output in ("forward", "bias_gradient")]
    drawn = [
        probe.operation.draw(np.random.default_rng([SEED, i]), probe.dtype)["x"]
        for i, probe in enumerate(probes)
    ]
    assert not np.array_equal(*drawn)
    assert len({run_probe(probe, seed=SEED).sha256 for probe in probes}) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_representable_in_the_dtype(dtype):
    for probe in select_probes([dtype]):
        if probe.name.startswith("cast."):
            continue
        inputs = probe.operation.draw(np.random.default_rng(SEED), dtype)
        for name, values in inputs.items():
            if values.dtype != np.int64:
                np.testing.assert_array_equal(round_to(values, dtype), values, f"{probe.id} {name}")
