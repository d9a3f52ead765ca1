"""The table of probes, and the inputs that they draw."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cnnprec.numerics.probes import DTYPES, PROBES, QUICK, QUICK_XLA, select_probes
from cnnprec.numerics.run_probes import _tensors
from cnnprec.precision.formats import round_to
from tests.support.probes import run_probe

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
        for mode, names in (("", QUICK), ("xla.", ["xla.*"])):
            probes = select_probes([dtype], names)
            assert {p.name.removeprefix(mode).split(".")[0] for p in probes} == families


def test_what_xla_compiles_in_a_quick_session_is_a_part_of_what_it_can():
    assert {name.split(".")[0] for name in QUICK_XLA} == {"xla"}
    assert {probe.mode for probe in select_probes(DTYPES, QUICK_XLA)} == {"XLA"}
    assert not any(probe.mode == "XLA" for probe in select_probes(DTYPES, QUICK))


EAGER = {p.name: p for p in select_probes(["float16"]) if p.mode == "eager"}


@pytest.mark.parametrize("name", EAGER)
def test_an_operation_looks_its_inputs_up_when_it_runs(name):
    """A trace puts its arguments in their place: what it captured would be computed with once."""
    operation = EAGER[name].operation
    held = _tensors(EAGER[name], operation.draw(np.random.default_rng(SEED), "float16"))
    run = operation.prepare(held, "float16")
    before = run().numpy()
    held.update({key: tf.zeros_like(value) for key, value in held.items()})
    assert not np.array_equal(run().numpy(), before)


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
        if ".from-" in probe.name:
            continue
        inputs = probe.operation.draw(np.random.default_rng(SEED), dtype)
        for name, values in inputs.items():
            if values.dtype != np.int64:
                np.testing.assert_array_equal(round_to(values, dtype), values, f"{probe.id} {name}")
