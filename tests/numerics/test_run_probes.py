"""TensorFlow and Keras stay within the derived bounds, and faults do not."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.numerics.known_defects import known_defects
from cnnprec.numerics.probes import DTYPES, PROBES, QUICK_XLA, Probe, select_probes
from cnnprec.numerics.run_probes import ProbeResult, default_device, run_probes
from tests.support.hoeffding import hoeffding_limit
from tests.support.probes import run_probe

SEED = 0
ON_CPU = default_device() == "CPU"
KNOWN_DEFECTS = known_defects()
VERSIONS = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, CPU"


def _row(probe: Probe) -> Any:
    marks = []
    if ON_CPU and probe.id in KNOWN_DEFECTS:
        reason = f"{KNOWN_DEFECTS[probe.id]} ({VERSIONS}), see docs/known-defects.md"
        marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    if probe.mode == "XLA" and probe.name not in QUICK_XLA:
        marks.append(pytest.mark.faults)  # a minute of compiling
    if not ON_CPU and probe.cpu_only:
        marks.append(pytest.mark.skip(reason="a convention of CPUs"))
    return pytest.param(probe, id=probe.id, marks=marks)


@functools.cache
def healthy(probe_id: str) -> ProbeResult:
    """What a probe finds where no fault is planted; each is run once for all tests."""
    probe = PROBES[probe_id]
    if probe.mode != "XLA":
        return run_probe(probe, seed=SEED)
    return compiled(probe.dtype, probe.name in QUICK_XLA)[probe_id]


@functools.cache
def compiled(dtype: str, quick: bool) -> dict[str, ProbeResult]:
    """What the probes find that XLA compiles, which it does with all of a dtype at once."""
    names = QUICK_XLA if quick else ["xla.*"]
    return {result.id: result for result in run_probes([dtype], names, seed=SEED)}


@pytest.mark.parametrize("probe", [_row(probe) for probe in PROBES.values()])
def test_probe_stays_within_its_bound(probe):
    result = healthy(probe.id)
    assert result.within_bound, str(result)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_repeat_bitwise(dtype):
    names = ("conv2d.tutorial-2.*", "dense.tutorial-1.*", "reduce_sum.*", "adam.*")
    probes = select_probes([dtype], names)
    assert [probe.id for probe in probes if not healthy(probe.id).repeats] == []


def test_running_probes_by_pattern_gives_what_each_gives_alone():
    dtypes, names = ["float32", "float16"], ["relu.*", "dense.odd.forward"]
    found = run_probes(dtypes, names, seed=SEED)
    assert found == tuple(healthy(probe.id) for probe in select_probes(dtypes, names))
    assert len(found) == 6


def test_a_result_says_how_the_operation_ran():
    for probe_id, mode in (
        ("relu.forward[float32]", "eager"),
        ("conv2d.fused-relu.forward[float32]", "graph"),
        ("xla.relu.forward[float32]", "XLA"),
    ):
        assert f"{probe_id} ({mode}): error over bound" in str(healthy(probe_id))


def test_a_result_that_is_not_finite_is_infinitely_far_off(monkeypatch):
    monkeypatch.setattr(tf.nn, "relu", lambda x: x * tf.constant(math.nan, x.dtype))
    result = run_probe(PROBES["relu.forward[float32]"], seed=SEED)
    assert result.max_error_over_bound == math.inf
    assert math.isnan(result.worst_computed)
    assert not result.within_bound


def test_a_result_names_the_known_defect_that_explains_it():
    for probe_id in ("reduce_sum.axis-0[float16]", "reduce_sum.axis-0[float32]"):
        result = healthy(probe_id)
        assert result.known_defect == (KNOWN_DEFECTS.get(probe_id) if ON_CPU else None)
        assert ("known defect" in str(result)) == (result.known_defect is not None)


def test_a_result_depends_on_the_seed_and_on_nothing_else():
    probe = PROBES["dense.odd.forward[float32]"]
    first, again, other = (run_probe(probe, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "name",
    ["conv2d.tutorial-1.forward", "conv2d.tutorial-2.forward", "dense.tutorial-1.kernel_gradient"],
)
def test_rounding_errors_have_no_direction(name, dtype):
    result = healthy(f"{name}[{dtype}]")
    limit = hoeffding_limit(result.elements)
    assert abs(result.signed_mean_error) < limit
    assert abs(result.outward_mean_error) < limit


# --- faults: each check can fail --------------------------------------------------------


def _edit_bits(x: Any, edit: Callable[[Any], Any]) -> Any:
    """Applies a function to the bits of float32 or float16, with the gradient kept."""
    kind = {tf.float16: tf.uint16, tf.float32: tf.uint32}[x.dtype]

    @tf.custom_gradient
    def through(value: Any) -> Any:
        return tf.bitcast(edit(tf.bitcast(value, kind)), x.dtype), lambda upstream: upstream

    return through(x)


def _after(module: Any, name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A fault that changes the result of an operation."""
    original = getattr(module, name)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, name, lambda *a, **k: change(original(*a, **k)))

    return patch


def _before(module: Any, name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A fault that changes both operands of an operation."""
    original = getattr(module, name)

    def faulty(a: Any, b: Any, *rest: Any, **options: Any) -> Any:
        a, b = (change(tf.convert_to_tensor(x)) for x in (a, b))
        return original(a, b, *rest, **options)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, name, faulty)

    return patch


def _by_way_of(dtype: str) -> Callable[[Any], Any]:
    return lambda x: tf.cast(tf.cast(x, dtype), x.dtype)


def _next_up(x: Any) -> Any:
    return _edit_bits(x, lambda bits: bits + tf.ones_like(bits))


def _mask_to_tf32(x: Any) -> Any:
    return _edit_bits(
        x, lambda bits: tf.bitwise.bitwise_and(bits, tf.constant(0xFFFFE000, bits.dtype))
    )


def _flush(x: Any) -> Any:
    return tf.where(tf.abs(x) < tf.constant(2.0**-14, x.dtype), tf.zeros_like(x), x)


def _clamp(x: Any) -> Any:
    largest = x.dtype.max
    return tf.clip_by_value(x, -largest, largest)


def _matmul_in_storage_type(a: Any, b: Any, **_: Any) -> Any:
    products = a.numpy()[:, :, None] * b.numpy()[None]
    # NumPy's accumulate rounds to float16 after each addition.
    return tf.constant(np.add.accumulate(products, axis=1)[:, -1])


def _patch_matmul_in_storage_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf, "matmul", _matmul_in_storage_type)


def _patch_bias_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.nn, "bias_add", lambda x, bias, **_: x + 0 * bias)


def _patch_tie_gradient_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    original = tf.nn.max_pool

    @tf.custom_gradient
    def max_pool(x: Any) -> Any:
        y = original(x, 2, 2, "VALID")

        def gradient(upstream: Any) -> Any:
            def spread(values: Any) -> Any:
                return tf.repeat(tf.repeat(values, 2, axis=1), 2, axis=2)

            return tf.where(x == spread(y), spread(upstream), tf.zeros_like(x))

        return y, gradient

    monkeypatch.setattr(tf.nn, "max_pool", lambda x, *_, **__: max_pool(x))


def _patch_gradient_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    original = tf.nn.convolution

    @tf.custom_gradient
    def half(y: Any) -> Any:
        return y, lambda upstream: upstream / 2

    monkeypatch.setattr(tf.nn, "convolution", lambda *a, **k: half(original(*a, **k)))


def _patch_relu_slope_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    @tf.custom_gradient
    def relu(x: Any) -> Any:
        return tf.maximum(x, 0), lambda up: tf.where(x >= 0, up, tf.zeros_like(up))

    monkeypatch.setattr(tf.nn, "relu", relu)


def _patch_denominator_of_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    original = keras.src.ops.sqrt
    monkeypatch.setattr(keras.src.ops, "sqrt", lambda x: original(x) * 1.01)


FAULTS = {
    "scaled by 1 + 1e-4": (
        _after(tf.nn, "convolution", lambda y: y * (1 + 1e-4)),
        "conv2d.tutorial-1.forward[float32]",
    ),
    "bias skipped": (_patch_bias_skipped, "conv2d.tutorial-2.forward[float32]"),
    "bias skipped in half": (_patch_bias_skipped, "dense.tutorial-2.forward[float16]"),
    "bfloat16 in place of float16": (
        _after(tf.nn, "convolution", _by_way_of("bfloat16")),
        "value.mantissa.conv2d[float16]",
    ),
    "bfloat16 in place of float16, random operands": (
        _before(tf, "matmul", _by_way_of("bfloat16")),
        "dense.tutorial-1.forward[float16]",
    ),
    "float16 subnormals flushed": (_after(tf, "matmul", _flush), "value.subnormal.dense[float16]"),
    "float16 subnormals flushed in a cast": (
        _after(tf, "cast", _flush),
        "cast.from-float32.edges[float16]",
    ),
    "Inf clamped in a cast": (_after(tf, "cast", _clamp), "cast.from-float32.edges[float16]"),
    "Inf clamped in a layer": (
        _after(tf.nn, "convolution", _clamp),
        "value.overflow.conv2d[float16]",
    ),
    "TF32 operands": (_before(tf, "matmul", _mask_to_tf32), "value.mantissa.dense[float32]"),
    "TF32 operands, random": (
        _before(tf.nn, "convolution", _mask_to_tf32),
        "conv2d.tutorial-2.forward[float32]",
    ),
    "float16 accumulation, counted": (
        _patch_matmul_in_storage_type,
        "counting.dense-forward.4096[float16]",
    ),
    "float16 accumulation, random": (
        _patch_matmul_in_storage_type,
        "dense.tutorial-1.forward[float16]",
    ),
    "float32 in place of float64": (
        _after(tf.nn, "convolution", _by_way_of("float32")),
        "conv2d.tutorial-3.forward[float64]",
    ),
    "tie gradient to all": (
        _patch_tie_gradient_to_all,
        "max_pooling2d.ties.input_gradient[float32]",
    ),
    "gradient halved": (_patch_gradient_halved, "conv2d.tutorial-2.kernel_gradient[float32]"),
    "slope 1 at zero": (_patch_relu_slope_at_zero, "relu.input_gradient[float32]"),
    "wrong denominator in Adam": (_patch_denominator_of_adam, "adam.weight[float32]"),
    "scaled by 1 + 1e-4 where XLA compiles": (
        _after(tf.nn, "convolution", lambda y: y * (1 + 1e-4)),
        "xla.conv2d.odd.forward[float32]",
    ),
    "float16 subnormals flushed where XLA compiles": (
        _after(tf, "matmul", _flush),
        "xla.value.subnormal.dense[float16]",
    ),
    "gradient halved where XLA compiles": (
        _patch_gradient_halved,
        "xla.conv2d.odd.kernel_gradient[float32]",
    ),
    "wrong denominator in Adam where XLA compiles": (
        _patch_denominator_of_adam,
        "xla.adam.weight[float32]",
    ),
    "one element off in a reduction": (
        _after(tf, "reduce_sum", lambda y: y + tf.one_hot(3, 8, dtype=y.dtype) * y / 64),
        "reduce_sum.axis-1[bfloat16]",
    ),
    "cross-entropy scaled by 1 + 1e-5": (
        _after(tf.nn, "sparse_softmax_cross_entropy_with_logits", lambda y: y * (1 + 1e-5)),
        "cross_entropy.10-classes.forward[float32]",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_exceeds_the_bound_of_its_probe_and_its_absence_does_not(name, monkeypatch):
    patch, probe_id = FAULTS[name]
    assert healthy(probe_id).within_bound
    with monkeypatch.context() as context:
        patch(context)
        assert not run_probe(PROBES[probe_id], seed=SEED).within_bound


def test_tf32_operands_are_inside_the_bound_where_tf32_is_allowed(monkeypatch):
    patch, probe_id = FAULTS["TF32 operands, random"]
    patch(monkeypatch)
    assert run_probe(PROBES[probe_id], seed=SEED, tensor_float_32=True).within_bound


def test_one_ulp_everywhere_changes_the_hash_and_the_mean_outward_error(monkeypatch):
    probe = PROBES["conv2d.tutorial-1.forward[float32]"]
    clean = healthy(probe.id)
    _after(tf.nn, "convolution", _next_up)(monkeypatch)
    faulty = run_probe(probe, seed=SEED)
    limit = hoeffding_limit(clean.elements)
    assert faulty.sha256 != clean.sha256
    assert abs(clean.outward_mean_error) < limit < faulty.outward_mean_error


def test_one_ulp_in_one_element_changes_the_hash(monkeypatch):
    probe = PROBES["conv2d.tutorial-1.forward[float32]"]
    clean = healthy(probe.id)

    def change(y: Any) -> Any:
        return tf.tensor_scatter_nd_update(y, [[1, 2, 3, 4]], [_next_up(y)[1, 2, 3, 4]])

    _after(tf.nn, "bias_add", change)(monkeypatch)
    assert run_probe(probe, seed=SEED).sha256 != clean.sha256


def test_a_fault_in_one_element_is_located(monkeypatch):
    def change(y: Any) -> Any:
        return tf.tensor_scatter_nd_update(y, [[1, 2, 3, 4]], [y[1, 2, 3, 4] + 1])

    _after(tf.nn, "bias_add", change)(monkeypatch)
    result = run_probe(PROBES["conv2d.tutorial-1.forward[float32]"], seed=SEED)
    assert result.worst_index == (1, 2, 3, 4)
    assert result.worst_computed == pytest.approx(result.worst_exact + 1)


def test_a_sum_in_random_order_does_not_repeat(monkeypatch):
    rng, original = np.random.default_rng(SEED), tf.reduce_sum
    probe = PROBES["reduce_sum.all[float32]"]
    assert healthy(probe.id).repeats

    def shuffled(x: Any, axis: Any) -> Any:
        # Sequential, as atomics on a GPU are; the order is what changes.
        x = x.numpy()[rng.permutation(x.shape[0])]
        return tf.constant(np.cumsum(x)[-1]) if axis == [0] else original(x, axis=axis)

    monkeypatch.setattr(tf, "reduce_sum", shuffled)
    result = run_probe(probe, seed=SEED)
    assert result.within_bound  # the order is free; only repeating it is not
    assert not result.repeats
