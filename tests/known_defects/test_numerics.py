"""Wrong numbers that TensorFlow gives, each beside a twin that is right.

All run on the CPU, but one that needs a GPU.

The expected failures are strict: a TensorFlow that repairs one fails this file, and the
row, its probes in `cnnprec.numerics.probes` and its entry in docs/known-defects.md can go. A twin
runs the same check where TensorFlow is right, so a check that is itself broken is seen.

Where TensorFlow computes in oneDNN some are right; there the same check is a plain test.

The sums are of equal terms 2**-6. Every partial sum of up to 65,536 of them is a multiple
of 2**-6 below 2**11, so float32 holds it exactly, and so do float16 and bfloat16 the
totals: 4,096 terms give 64 and 43,264 = 169 * 2**8 terms give 676 = 169 * 4 (8 significant
bits). A correct result is the total itself, with no tolerance.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from cnnprec.numerics.onednn import computed_by_onednn

VERSIONS = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
HALF = ("float16", "bfloat16")


@pytest.fixture(autouse=True)
def _on_cpu() -> Iterator[None]:
    with tf.device("/CPU:0"):
        yield


def right(*values: Any) -> Any:
    return pytest.param(*values, id="-".join(map(str, values)))


def defect(slug: str, *values: Any) -> Any:
    reason = f"{slug} ({VERSIONS}), see docs/known-defects.md"
    mark = pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)
    return pytest.param(*values, id="-".join(map(str, values)), marks=mark)


def defect_outside_onednn(slug: str, *values: Any, dtype: str) -> Any:
    """A defect that TensorFlow's own kernels have and oneDNN's have not."""
    return right(*values) if computed_by_onednn(dtype) else defect(slug, *values)


def terms(shape: tuple[int, ...], dtype: str, value: float = 2.0**-6) -> tf.Tensor:
    return tf.fill(shape, tf.constant(value, dtype))


def one_large_term(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    """65,536 rows: 2048 first, then 2**-12.

    The sum is 2064 but for 2**-12, which float32 holds and 16 bits round up. Where partial sums
    are rounded to 16 bits, blocks of fewer than 4,096 small terms are lost.
    """
    rows = np.full((65_536, math.prod(shape) // 65_536), 2.0**-12)
    rows[0] = 2048
    return tf.constant(rows.reshape(shape), dtype)


def sum_with_one_large_term(dtype: str) -> float:
    return 2064.0 if dtype in HALF else 2064 - 2.0**-12


def assert_all_equal(computed: Any, expected: float) -> None:
    numbers = np.asarray(computed.numpy()).astype(np.float64)
    assert numbers.min() == numbers.max() == expected


@pytest.mark.parametrize(
    "dtype",
    [
        defect("bias-gradient-bfloat16", "bfloat16"),
        right("float16"),
        right("float32"),
        right("float64"),
    ],
)
def test_bias_add_grad_sums_43264_terms(dtype):
    gradient = tf.raw_ops.BiasAddGrad(out_backprop=terms((43_264, 8), dtype))
    assert_all_equal(gradient, 676.0)


@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="needs a GPU")
@pytest.mark.parametrize(
    "dtype",
    [
        defect("bias-gradient-on-gpus", "float16"),
        defect("bias-gradient-on-gpus", "bfloat16"),
        right("float32"),
        right("float64"),
    ],
)
def test_bias_add_grad_on_a_gpu_keeps_small_terms_beside_a_large_one(dtype):
    with tf.device("/GPU:0"):
        gradient = tf.raw_ops.BiasAddGrad(out_backprop=one_large_term((65_536, 8), dtype))
    assert_all_equal(gradient, sum_with_one_large_term(dtype))


@pytest.mark.parametrize(
    "policy",
    [
        defect("bias-gradient-bfloat16", "mixed_bfloat16"),
        right("mixed_float16"),
        right("float32"),
    ],
)
def test_a_conv2d_layer_has_the_bias_gradient_of_its_upstream(policy):
    layer = keras.layers.Conv2D(8, 3, dtype=policy)
    x = tf.zeros((64, 28, 28, 1))
    with tf.GradientTape() as tape:
        y = layer(x)
    upstream = terms((64, 26, 26, 8), y.dtype.name)
    gradient = tape.gradient(y, layer.bias.value, output_gradients=upstream)
    assert gradient.dtype == tf.float32
    assert_all_equal(gradient, 676.0)


REDUCTIONS: dict[str, Callable[[str], tuple[tf.Tensor, float]]] = {
    "sum-axis-0": lambda t: (tf.reduce_sum(terms((65_536, 4), t), axis=0), 1024.0),
    "sum-axis-1": lambda t: (tf.reduce_sum(terms((4, 65_536), t), axis=1), 1024.0),
    "sum-all": lambda t: (tf.reduce_sum(terms((65_536, 4), t)), 4096.0),
    "sum-axes-012": lambda t: (tf.reduce_sum(terms((676, 8, 8, 8), t), axis=[0, 1, 2]), 676.0),
    "mean-axis-0": lambda t: (tf.reduce_mean(terms((32_768, 4), t), axis=0), 2.0**-6),
    "mean-axis-1": lambda t: (tf.reduce_mean(terms((4, 32_768), t), axis=1), 2.0**-6),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        defect("reduction-float16", "sum-axis-0", "float16"),
        defect("reduction-float16", "sum-axes-012", "float16"),
        defect("reduction-float16", "mean-axis-0", "float16"),
        right("sum-axis-1", "float16"),
        right("sum-all", "float16"),
        right("mean-axis-1", "float16"),
        *(right(name, dtype) for name in REDUCTIONS for dtype in ("bfloat16", "float32")),
    ],
)
def test_a_reduction_sums_equal_terms_exactly(name, dtype):
    computed, expected = REDUCTIONS[name](dtype)
    assert_all_equal(computed, expected)


@pytest.mark.parametrize(
    "dtype", [defect("reduction-float16", "float16"), right("bfloat16"), right("float32")]
)
def test_a_whole_sum_adds_small_terms_to_a_large_one(dtype):
    total = tf.reduce_sum(one_large_term((65_536,), dtype))
    assert_all_equal(total, sum_with_one_large_term(dtype))


def conv2d_kernel_gradient(x: tf.Tensor) -> tf.Tensor:
    """Sums over all but the last axis of an array of shape (n, 8, 8, 2)."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=[1, 1, 2, 4],
        out_backprop=terms((*x.shape[:3], 4), x.dtype.name, 1.0),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )


CONV2D_GRADIENTS = [
    *(
        defect_outside_onednn("conv2d-gradients-accumulate-in-half", dtype, dtype=dtype)
        for dtype in HALF
    ),
    right("float32"),
    right("float64"),
]


@pytest.mark.parametrize("dtype", CONV2D_GRADIENTS)
def test_the_kernel_gradient_of_conv2d_adds_small_terms_to_a_large_one(dtype):
    gradient = conv2d_kernel_gradient(one_large_term((1024, 8, 8, 2), dtype))
    assert_all_equal(gradient, sum_with_one_large_term(dtype))


@pytest.mark.parametrize(
    ("dtype", "count"),
    [
        defect_outside_onednn(
            "conv2d-gradients-accumulate-in-half", "bfloat16", 4096, dtype="bfloat16"
        ),
        right("float16", 4096),
        right("float32", 43_264),
        right("float64", 43_264),
    ],
)
def test_the_kernel_gradient_of_conv2d_sums_equal_terms_exactly(dtype, count):
    gradient = conv2d_kernel_gradient(terms((count // 64, 8, 8, 2), dtype))
    assert_all_equal(gradient, count * 2.0**-6)


@pytest.mark.parametrize("dtype", CONV2D_GRADIENTS)
def test_the_input_gradient_of_conv2d_adds_the_nine_taps_exactly(dtype):
    # The pixel in the middle gets the sum of all nine taps. One tap is L, the last number
    # before the spacing exceeds 1, the other eight are 1; L + 8 is representable, but
    # L + 1 rounds back to L wherever a partial sum is rounded to the dtype.
    large = {"float16": 2048.0, "bfloat16": 256.0}.get(dtype, 2048.0)
    sums = []
    for place in ((0, 0), (1, 1), (2, 2)):
        kernel = np.ones((3, 3, 1, 1))
        kernel[place] = large
        gradient = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=[1, 5, 5, 1],
            filter=tf.constant(kernel, dtype),
            out_backprop=terms((1, 3, 3, 1), dtype, 1.0),
            strides=[1, 1, 1, 1],
            padding="VALID",
        )
        sums.append(gradient[:, 2, 2, 0])
    assert_all_equal(tf.stack(sums), large + 8)


@pytest.mark.parametrize("dtype", [*map(right, (*HALF, "float32"))])
def test_conv2d_itself_adds_the_nine_taps_exactly(dtype):
    large = {"float16": 2048.0, "bfloat16": 256.0}.get(dtype, 2048.0)
    kernel = np.ones((3, 3, 1, 1))
    kernel[1, 1] = large
    y = tf.nn.conv2d(terms((1, 3, 3, 1), dtype, 1.0), tf.constant(kernel, dtype), 1, "VALID")
    assert_all_equal(y, large + 8)


@pytest.mark.parametrize(
    "dtype",
    [
        defect_outside_onednn("matmul-bfloat16-truncates", "bfloat16", dtype="bfloat16"),
        right("float16"),
        right("float32"),
        right("float64"),
    ],
)
def test_a_matrix_product_rounds_to_nearest(dtype):
    # Three quarters of the way from 1 to the next number.
    gap = float(ml_dtypes.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps)
    row = tf.constant([[1.0, 0.75 * gap]], dtype)
    assert_all_equal(tf.matmul(row, tf.ones((2, 1), dtype)), 1 + gap)


def test_conv2d_in_bfloat16_rounds_to_nearest():
    row = tf.constant([[[[1.0, 0.75 * 2.0**-7]]]], tf.bfloat16)
    y = tf.nn.conv2d(row, tf.ones((1, 1, 2, 1), tf.bfloat16), 1, "VALID")
    assert_all_equal(y, 1 + 2.0**-7)


# A little above the tie between 1 and the next number.
ABOVE_TIE = {"float16": 1 + 2.0**-11 + 2.0**-40, "bfloat16": 1 + 2.0**-8 + 2.0**-40}


@pytest.mark.parametrize(
    "dtype", [defect("cast-from-float64-rounds-twice", dtype) for dtype in HALF]
)
def test_a_cast_from_float64_rounds_once(dtype):
    gap = float(ml_dtypes.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps)
    assert_all_equal(tf.cast(tf.constant([ABOVE_TIE[dtype]], tf.float64), dtype), 1 + gap)


@pytest.mark.parametrize(
    "dtype", [defect("cast-from-float64-rounds-twice", dtype) for dtype in HALF]
)
def test_xla_rounds_a_cast_from_float64_once(dtype):
    gap = float(ml_dtypes.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps)
    cast = tf.function(lambda x: tf.cast(x, dtype), jit_compile=True)
    assert_all_equal(cast(tf.constant([ABOVE_TIE[dtype]], tf.float64)), 1 + gap)


def test_numpy_rounds_a_cast_from_float64_to_float16_once():
    assert np.float64(ABOVE_TIE["float16"]).astype(np.float16) == 1 + 2.0**-10


@pytest.mark.parametrize("dtype", [*map(right, HALF)])
def test_a_cast_from_float32_rounds_once(dtype):
    gap = float(ml_dtypes.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps)
    value = np.nextafter(np.float32(1 + gap / 2), np.float32(2))
    assert_all_equal(tf.cast(tf.constant([value]), dtype), 1 + gap)


@pytest.mark.parametrize(
    "value",
    [
        defect("cast-from-float64-rounds-twice", 65520 - 2.0**-20),
        right(65520 - 2.0**-7),
        right(65519.0),
    ],
)
def test_a_finite_float64_below_65520_stays_finite_in_float16(value):
    assert_all_equal(tf.cast(tf.constant([value], tf.float64), tf.float16), 65504.0)


def test_65520_itself_becomes_infinite():
    assert_all_equal(tf.cast(tf.constant([65520.0], tf.float64), tf.float16), math.inf)


SUMS: dict[str, Callable[[str], tf.Tensor]] = {
    "segment_sum": lambda t: tf.math.segment_sum(
        terms((43_264, 4), t), tf.zeros([43_264], tf.int32)
    ),
    "unsorted_segment_sum": lambda t: tf.math.unsorted_segment_sum(
        terms((43_264, 4), t), tf.zeros([43_264], tf.int32), 1
    ),
    "scatter_nd": lambda t: tf.scatter_nd(
        tf.zeros((43_264, 1), tf.int32), terms((43_264,), t), [1]
    ),
    "cumsum": lambda t: tf.cumsum(terms((43_264,), t))[-1:],
    "einsum": lambda t: tf.einsum(
        "bij,bjk->bik", terms((2, 4, 43_264), t), terms((2, 43_264, 4), t, 1.0)
    ),
    "depthwise_kernel_gradient": lambda t: tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=terms((676, 8, 8, 2), t),
        filter_sizes=[1, 1, 2, 1],
        out_backprop=terms((676, 8, 8, 2), t, 1.0),
        strides=[1, 1, 1, 1],
        padding="VALID",
    ),
}
PRODUCTS = ("einsum", "depthwise_kernel_gradient")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(
            defect("sums-in-storage-type", name, dtype)
            for name in SUMS
            for dtype in HALF
            if name not in PRODUCTS
        ),
        *(
            defect_outside_onednn("sums-in-storage-type", name, "bfloat16", dtype="bfloat16")
            for name in PRODUCTS
        ),
        *(right(name, "float16") for name in PRODUCTS),
        *(right(name, "float32") for name in SUMS),
    ],
)
def test_an_operation_that_sums_does_so_exactly(name, dtype):
    assert_all_equal(SUMS[name](dtype), 676.0)


BFLOAT16_PRODUCT = "import tensorflow as tf; a = tf.ones((4, 4), 'bfloat16'); tf.matmul(a, a)"


@pytest.mark.parametrize(
    "instructions",
    [
        defect("onednn-isa-limit-crashes-bfloat16", "AVX2")
        if computed_by_onednn("bfloat16")
        else right("AVX2"),
        right("AVX512_CORE"),
    ],
)
def test_a_bfloat16_product_survives_a_limit_on_the_instructions_of_onednn(
    instructions, monkeypatch
):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", instructions)
    if not computed_by_onednn("bfloat16"):
        exec(BFLOAT16_PRODUCT, {})  # noqa: S102 - nothing reads the limit: this process will do
        return
    # oneDNN reads the limit once, and what exceeds it ends the process.
    done = subprocess.run(
        [sys.executable, "-c", BFLOAT16_PRODUCT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# It is switched on for a whole process, so it gets one of its own; starting it costs more than
# all that it runs, so all cases share it.
CHECK_NUMERICS = """
import json
import keras, numpy as np, tensorflow as tf

def add(dtype):
    return float((tf.constant(1.0, dtype) + tf.constant(2.0, dtype)).numpy())

def overflow():
    return float((tf.constant(65504.0, "float16") * tf.constant(2.0, "float16")).numpy())

def skipped_step():
    layer = keras.layers.Dense(1, kernel_initializer="ones", dtype="mixed_float16")
    layer.build((1, 1))
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), 2.0**20)
    optimizer.build(layer.trainable_variables)
    with tf.GradientTape() as tape:
        scaled = optimizer.scale_loss(tf.cast(layer(tf.ones((1, 1))), "float32"))
    optimizer.apply(tape.gradient(scaled, [v.value for v in layer.trainable_variables]))
    return [float(layer.kernel.numpy()[0, 0]), float(optimizer.dynamic_scale.numpy())]

def result(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

found = {"off skipped step": result(skipped_step)}
tf.debugging.enable_check_numerics()
found["on skipped step"] = result(skipped_step)
found["overflow"] = result(overflow)
for dtype in ("float16", "bfloat16", "float32", "float64"):
    found[dtype] = result(add, dtype)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def check_numerics() -> dict[str, Any]:
    """What came of each case: its numbers, or the error as text."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK_NUMERICS], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "dtype",
    [
        defect("check-numerics-fails-in-eager-bfloat16", "bfloat16"),
        right("float16"),
        right("float32"),
        right("float64"),
    ],
)
def test_check_numerics_lets_a_finite_sum_pass(dtype, check_numerics):
    assert check_numerics[dtype] == 3.0


def test_check_numerics_stops_an_overflow_that_nothing_handles(check_numerics):
    assert "Detected Infinity or NaN" in check_numerics["overflow"]


@pytest.mark.parametrize(
    "checks", [defect("check-numerics-stops-skipped-steps", "on"), right("off")]
)
def test_step_that_loss_scaling_skips_goes_on_with_numbers_checked(checks, check_numerics):
    # The gradient 2**20 is infinite in float16: the weight stays, and the scale is halved.
    assert check_numerics[f"{checks} skipped step"] == [1.0, 2.0**19]
