"""TensorFlow and Keras stay within the derived bounds, and faults do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprec.numerics.arithmetic import ACCUMULATORS, arithmetic_for
from cnnprec.numerics.bounds import contraction
from cnnprec.numerics.discrepancy import discrepancy, hoeffding_limit
from cnnprec.numerics.known_defects import known_defects
from cnnprec.numerics.layers import Conv2D
from cnnprec.numerics.onednn import computed_by_onednn
from cnnprec.numerics.probes import DTYPES, PROBES, Probe, select_probes
from cnnprec.numerics.run_probes import default_device, run_probe, run_probes
from cnnprec.precision.formats import FORMATS, round_to

SEED = 0
ON_CPU = default_device() == "CPU"
KNOWN_DEFECTS = known_defects(tuple(filter(computed_by_onednn, DTYPES)))
VERSIONS = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, CPU"


def _row(probe: Probe) -> Any:
    marks = []
    if ON_CPU and probe.id in KNOWN_DEFECTS:
        reason = f"{KNOWN_DEFECTS[probe.id]} ({VERSIONS}), see docs/known-defects.md"
        marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    if not ON_CPU and probe.cpu_only:
        marks.append(pytest.mark.skip(reason="a convention of CPUs"))
    return pytest.param(probe, id=probe.id, marks=marks)


@pytest.mark.parametrize("probe", [_row(probe) for probe in PROBES.values()])
def test_probe_stays_within_its_bound(probe):
    result = run_probe(probe, seed=SEED)
    assert result.within_bound, str(result)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_repeat_bitwise(dtype):
    names = ("conv2d.tutorial-2.*", "dense.tutorial-1.*", "reduce_sum.*", "adam.*")
    assert [r.id for r in run_probes([dtype], names, seed=SEED) if not r.repeats] == []


# --- the table --------------------------------------------------------------------------


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


def test_selection_refuses_unknown_dtypes_and_names_all_at_once():
    with pytest.raises(ValueError, match=r"'float8'[^\0]*'relu.forwrd'.*'relu.forward'") as error:
        select_probes(["float8"], ["relu.forwrd"])
    assert len(str(error.value).splitlines()) == 2


def test_a_result_that_is_not_finite_is_infinitely_far_off(monkeypatch):
    monkeypatch.setattr(tf.nn, "relu", lambda x: x * tf.constant(math.nan, x.dtype))
    result = run_probe(PROBES["relu.forward[float32]"], seed=SEED)
    assert result.max_error_over_bound == math.inf
    assert result.shape == (4, 26, 26, 32)
    assert math.isnan(result.worst_computed)
    assert not result.within_bound


def test_a_result_names_the_known_defect_that_explains_it():
    for probe_id in ("reduce_sum.axis-0[float16]", "reduce_sum.axis-0[float32]"):
        result = run_probe(PROBES[probe_id], seed=SEED)
        assert result.known_defect == (KNOWN_DEFECTS.get(probe_id) if ON_CPU else None)
        assert ("known defect" in str(result)) == (result.known_defect is not None)


def test_a_result_depends_on_the_seed_and_on_nothing_else():
    probe = PROBES["dense.odd.forward[float32]"]
    first, again, other = (run_probe(probe, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.sha256 != other.sha256


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


def test_a_wider_accumulator_bound_makes_the_ratio_smaller():
    probe = PROBES["dense.tutorial-1.forward[float32]"]
    normal = run_probe(probe, seed=SEED)
    wider = run_probe(probe, seed=SEED, accumulator=ACCUMULATORS["tensor_core"])
    assert wider.max_error_over_bound < normal.max_error_over_bound
    assert wider.sha256 == normal.sha256


# --- numbers worked out by hand, so that the oracle is checked too ------------------------


def test_float16_overflows_at_65520_and_not_just_below():
    x = tf.constant([65519.99, 65520.0, -65520.0], tf.float32)
    assert tf.cast(x, tf.float16).numpy().tolist() == [65504.0, math.inf, -math.inf]


def test_casts_tie_to_even():
    x = tf.constant([1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-25, 3 * 2.0**-25], tf.float32)
    wanted = [1.0, 1 + 2 * 2.0**-10, 0.0, 2 * 2.0**-24]
    assert tf.cast(x, tf.float16).numpy().tolist() == wanted


def test_float16_keeps_ten_fraction_bits_and_bfloat16_does_not():
    x = tf.constant([1 + 2.0**-10], tf.float32)
    assert float(tf.cast(x, tf.float16)[0]) == 1 + 2.0**-10
    assert float(tf.cast(x, tf.bfloat16)[0]) == 1.0


@pytest.mark.skipif(not ON_CPU, reason="a convention of CPUs")
def test_cpus_flush_float32_subnormals_and_keep_those_of_float16():
    for dtype, kept in (("float16", True), ("float32", False), ("float64", False)):
        tiny = tf.constant([FORMATS[dtype].smallest_subnormal], dtype)
        assert bool((tiny * 1 != 0).numpy()[0]) is kept


def test_relu_passes_nan_and_has_no_slope_at_zero():
    x = tf.constant([math.nan, 0.0, -1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.Activation("relu")(x)
    assert math.isnan(y.numpy()[0])
    assert tape.gradient(y, x).numpy()[1:].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.skipif(not ON_CPU, reason="a convention of CPUs")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tie_in_max_pooling_sends_the_whole_gradient_to_the_first(dtype):
    x = tf.ones((1, 2, 2, 1), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
    assert np.ravel(tape.gradient(y, x)).astype(float).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pooling_conserves_the_sum_of_the_gradient(dtype):
    x = tf.constant(np.random.default_rng(SEED).integers(0, 2, (2, 6, 6, 3)), dtype)
    # Integers sum exactly in float64, however the ties fall.
    upstream = np.random.default_rng(SEED).integers(-8, 8, (2, 3, 3, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
    gradient = tape.gradient(y, x, output_gradients=tf.constant(upstream, dtype))
    assert gradient.numpy().astype(np.float64).sum() == upstream.sum()


# --- properties that need no oracle -----------------------------------------------------

_CONV = Conv2D((6, 9, 7, 5), 7, (2, 3))


def _conv_layer(inputs: dict[str, np.ndarray], dtype: str) -> keras.layers.Layer:
    layer = keras.layers.Conv2D(7, (2, 3), dtype=dtype)
    layer.build((None, 9, 7, 5))
    layer.kernel.assign(inputs["kernel"])
    layer.bias.assign(inputs["bias"])
    return layer


def _conv_kernel_gradient(inputs: dict[str, np.ndarray], dtype: str, rows: Any) -> np.ndarray:
    layer = _conv_layer(inputs, dtype)
    with tf.GradientTape() as tape:
        y = layer(tf.constant(inputs["x"][rows], dtype))
    upstream = tf.constant(inputs["upstream"][rows], dtype)
    gradient = tape.gradient(y, layer.kernel.value, output_gradients=upstream)
    return gradient.numpy().astype(np.float64)


def _kernel_gradient_bound(inputs: dict[str, np.ndarray], dtype: str, rows: Any) -> np.ndarray:
    part = {**inputs, "x": inputs["x"][rows], "upstream": inputs["upstream"][rows]}
    operation = Conv2D(part["x"].shape, 7, (2, 3), "kernel_gradient")
    return operation.enclose(part, arithmetic_for(dtype)).bound


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), split=st.integers(1, 5))
def test_gradients_of_two_parts_of_a_batch_add_up_to_that_of_the_whole(seed, split):
    for dtype in ("float32", "float64"):
        inputs = dict(_CONV.draw(np.random.default_rng(seed), dtype))
        parts = (slice(None), slice(None, split), slice(split, None))
        whole, first, second = (_conv_kernel_gradient(inputs, dtype, rows) for rows in parts)
        # Each of the three is within its own bound of the exact gradient, and the exact
        # ones add up. Adding the two in float64 errs by one more rounding.
        allowed = sum(_kernel_gradient_bound(inputs, dtype, rows) for rows in parts)
        allowed = allowed + 2.0**-53 * np.abs(first + second)
        assert np.all(np.abs(whole - (first + second)) <= allowed)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_permuted_batch_gives_permuted_results_and_the_same_gradient(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(6)
    for dtype in ("float32", "float64"):
        inputs = dict(_CONV.draw(rng, dtype))
        layer = _conv_layer(inputs, dtype)
        bound = _CONV.enclose(inputs, arithmetic_for(dtype)).bound
        y = layer(tf.constant(inputs["x"], dtype)).numpy()
        permuted = layer(tf.constant(inputs["x"][order], dtype)).numpy()
        # Both are within the bound of the same exact values.
        assert np.all(np.abs(permuted - y[order]) <= 2 * bound[order])
        gradients = [_conv_kernel_gradient(inputs, dtype, rows) for rows in (slice(None), order)]
        allowed = 2 * _kernel_gradient_bound(inputs, dtype, slice(None))
        assert np.all(np.abs(gradients[0] - gradients[1]) <= allowed)


def test_a_gradient_that_loses_one_image_does_not_add_up():
    inputs = dict(_CONV.draw(np.random.default_rng(SEED), "float32"))
    parts = (slice(None), slice(None, 3), slice(4, None))
    whole, first, second = (_conv_kernel_gradient(inputs, "float32", rows) for rows in parts)
    allowed = sum(_kernel_gradient_bound(inputs, "float32", rows) for rows in parts)
    assert np.any(np.abs(whole - (first + second)) > allowed)


def _dense_gradients(x: np.ndarray, kernel: np.ndarray, upstream: np.ndarray, dtype: str) -> Any:
    layer = keras.layers.Dense(kernel.shape[1], use_bias=False, dtype=dtype)
    layer.build((None, kernel.shape[0]))
    layer.kernel.assign(kernel)
    source = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(source)
        y = layer(source)
    sources = [source, layer.kernel.value]
    gradients = tape.gradient(y, sources, output_gradients=tf.constant(upstream, dtype))
    return np.concatenate([np.ravel(g.numpy()).astype(np.float64) for g in gradients])


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    exponent=st.integers(-20, 0),
    scale=st.integers(0, 12),
)
def test_loss_scaling_is_exact_and_never_adds_underflow(seed, dtype, exponent, scale):
    rng, fmt = np.random.default_rng(seed), FORMATS[dtype]
    shapes = ((8, 6), (6, 4), (8, 4))
    x, kernel, upstream = (round_to(rng.uniform(-4, 4, shape), dtype) for shape in shapes)
    upstream = round_to(np.ldexp(upstream, exponent), dtype)
    # At most 8 products of 4 * 4 * 2**(exponent + k) are summed, 2**(7 + exponent + k) in
    # all, so nothing overflows float16 while exponent + k <= 8.
    scale = min(scale, 8 - exponent)
    plain = _dense_gradients(x, kernel, upstream, dtype)
    scaled = _dense_gradients(x, kernel, np.ldexp(upstream, scale), dtype)
    assert np.all(np.isfinite(scaled))
    lost = [np.mean(np.abs(g) < fmt.smallest_normal) for g in (plain, scaled)]
    assert lost[1] <= lost[0]
    normal = np.abs(plain) >= fmt.smallest_normal
    np.testing.assert_array_equal(np.ldexp(scaled[normal], -scale), plain[normal])


def test_a_loss_scale_that_is_no_power_of_two_is_not_exact():
    rng = np.random.default_rng(SEED)
    shapes = ((8, 6), (6, 4), (8, 4))
    x, kernel, upstream = (round_to(rng.standard_normal(s), "float16") for s in shapes)
    plain = _dense_gradients(x, kernel, upstream, "float16")
    scaled = _dense_gradients(x, kernel, round_to(3 * upstream, "float16"), "float16")
    assert np.any(scaled / 3 != plain)


def test_loss_scaling_saves_gradients_that_underflow():
    rng = np.random.default_rng(SEED)
    x, kernel = (round_to(rng.standard_normal(s), "float16") for s in ((8, 6), (6, 4)))
    upstream = round_to(np.ldexp(rng.standard_normal((8, 4)), -18), "float16")
    plain = _dense_gradients(x, kernel, upstream, "float16")
    scaled = _dense_gradients(x, kernel, np.ldexp(upstream, 12), "float16")
    tiny = FORMATS["float16"].smallest_normal
    assert np.mean(np.abs(plain) < tiny) > 0.5
    assert np.mean(np.abs(scaled) < tiny) < 0.1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "name",
    ["conv2d.tutorial-1.forward", "conv2d.tutorial-2.forward", "dense.tutorial-1.kernel_gradient"],
)
def test_rounding_errors_have_no_direction(name, dtype):
    result = run_probe(PROBES[f"{name}[{dtype}]"], seed=SEED)
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
    assert run_probe(PROBES[probe_id], seed=SEED).within_bound
    with monkeypatch.context() as context:
        patch(context)
        assert not run_probe(PROBES[probe_id], seed=SEED).within_bound


def test_tf32_operands_are_inside_the_bound_where_tf32_is_allowed(monkeypatch):
    patch, probe_id = FAULTS["TF32 operands, random"]
    patch(monkeypatch)
    assert run_probe(PROBES[probe_id], seed=SEED, tensor_float_32=True).within_bound


def test_one_ulp_everywhere_changes_the_hash_and_the_mean_outward_error(monkeypatch):
    probe = PROBES["conv2d.tutorial-1.forward[float32]"]
    clean = run_probe(probe, seed=SEED)
    _after(tf.nn, "convolution", _next_up)(monkeypatch)
    faulty = run_probe(probe, seed=SEED)
    limit = hoeffding_limit(clean.elements)
    assert faulty.sha256 != clean.sha256
    assert abs(clean.outward_mean_error) < limit < faulty.outward_mean_error


def test_one_ulp_in_one_element_changes_the_hash(monkeypatch):
    probe = PROBES["conv2d.tutorial-1.forward[float32]"]
    clean = run_probe(probe, seed=SEED)

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
    assert run_probe(probe, seed=SEED).repeats

    def shuffled(x: Any, axis: Any) -> Any:
        # Sequential, as atomics on a GPU are; the order is what changes.
        x = x.numpy()[rng.permutation(x.shape[0])]
        return tf.constant(np.cumsum(x)[-1]) if axis == [0] else original(x, axis=axis)

    monkeypatch.setattr(tf, "reduce_sum", shuffled)
    result = run_probe(probe, seed=SEED)
    assert result.within_bound  # the order is free; only repeating it is not
    assert not result.repeats


def test_a_truncating_product_shows_in_the_mean_outward_error():
    rng = np.random.default_rng(SEED)
    a, b = (round_to(rng.standard_normal((64, 64)), "float16") for _ in range(2))
    rules = arithmetic_for("float16", tensor_cores=True)
    exact = a @ b
    gap = np.exp2(np.floor(np.log2(np.abs(exact))) - 10)
    truncated = np.trunc(exact / gap) * gap
    enclosure = contraction(a, b, rules)
    limit = hoeffding_limit(exact.size)
    assert discrepancy(truncated, enclosure).outward_mean_error < -limit
    assert abs(discrepancy(round_to(exact, "float16"), enclosure).outward_mean_error) < limit
