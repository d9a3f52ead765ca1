"""What the device can do in a dtype, and where the time of a training step goes.

Rates are the best of several calls on sizes that fill the device.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cnnprec.measurement.turns import Timing, steps_for
from cnnprec.records.limits import DeviceLimits, StepLimits, StepTimes
from cnnprec.training.device import tensor_float_32, wait_for_devices
from cnnprec.training.model import repeated
from cnnprec.training.operations import step_launches, step_parts
from cnnprec.training.trainer import Trainer

_CALL_SECONDS = 0.02  # a call this long fills the device
_TRIED_SECONDS = 0.2  # for which calls are repeated
# Rows and columns of a matrix; images of 32 x 32 places and 64 channels: 0.5 GB in float64 at most.
_MATRICES, _IMAGES = (512, 1024, 4096, 8192), (8, 32, 256, 1024)
_MEMORY = 2**27  # bytes, more than the caches hold
_PASSES = 8  # over that memory in a call
_CHAIN = 1000  # operations
_ROUNDS = 5  # in which the stages of a step are timed


def examine_limits(trainer: Trainer) -> StepLimits:
    """Measures the device in a trainer's dtype, and the stages of its step.

    Args:
        trainer: Warmed up. Its model is left in the middle of a training.
    """
    dtype, tf32 = trainer.precision.compute_dtype, trainer.precision.tensor_float_32
    with tensor_float_32(tf32):
        times, launches = _stages(trainer)
    parts = step_parts(trainer.model, trainer.config.batch_size)
    return StepLimits(device_limits(dtype, tf32, trainer.jit_compiled), parts, launches, times)


@functools.lru_cache(maxsize=8)
def device_limits(dtype: str, tf32: bool, jit: bool) -> DeviceLimits:
    """Measures the device; precisions that share a dtype share what was found.

    With `jit` the better of with XLA and without it counts.
    """
    ones = functools.partial(tf.ones, dtype=dtype)
    kernel = ones([3, 3, 64, 64])

    def product(rows: int) -> tuple[Any, ...]:
        return 2 * rows**3, ones([rows, rows]), ones([rows, rows])

    def convolution(images: int) -> tuple[Any, ...]:
        return 2 * images * 32 * 32 * 9 * 64 * 64, ones([images, 34, 34, 64]), kernel

    def gradient(images: int) -> tuple[Any, ...]:
        operations, *operands = convolution(images)
        return 2 * operations, *operands, ones([images, 32, 32, 64])

    convolve = functools.partial(tf.nn.conv2d, strides=1, padding="VALID")
    with tensor_float_32(tf32):
        return DeviceLimits(
            product=_rate(tf.matmul, product, _MATRICES, jit),
            convolution=_rate(convolve, convolution, _IMAGES, jit),
            gradient=_rate(_differentiate, gradient, _IMAGES, jit),
            bandwidth=_bandwidth(dtype),
            launch_seconds=_launch_seconds(dtype),
        )


def _differentiate(images: Any, kernel: Any, outputs: Any) -> Any:
    how: Any = {"strides": [1] * 4, "padding": "VALID", "out_backprop": outputs}
    ops, shapes = tf.raw_ops, (images.shape, kernel.shape)
    by_images = ops.Conv2DBackpropInput(input_sizes=shapes[0], filter=kernel, **how)
    return by_images, ops.Conv2DBackpropFilter(input=images, filter_sizes=shapes[1], **how)


def _rate(
    work: Callable[..., Any],
    operands_of: Callable[[int], tuple[Any, ...]],
    sizes: Sequence[int],
    jit: bool,
) -> float:
    """The highest rate of some work, whose size grows until a call fills the device.

    `operands_of` a size are its operations and what the work takes.
    """
    rates: list[float] = []
    for compiled in sorted({False, jit}):
        call = tf.function(work, jit_compile=compiled, autograph=False)
        for size in sizes:
            operations, *operands = operands_of(size)
            seconds = _best(functools.partial(call, *operands))
            rates.append(operations / seconds)
            if seconds >= _CALL_SECONDS:
                break
    return max(rates)


def _bandwidth(dtype: str) -> float:
    # In place, for new memory would be taken from the system page by page.
    ones = tf.ones([_MEMORY // tf.as_dtype(dtype).size], dtype)
    total = tf.Variable(ones)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def add() -> None:
        for _ in range(_PASSES):
            total.assign_add(ones)

    return 3 * _PASSES * _MEMORY / _best(add)  # two are read, one is written


def _launch_seconds(dtype: str) -> float:
    zero = tf.zeros([], dtype)

    def chain(length: int) -> float:
        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def work(value: Any) -> Any:
            for _ in range(length):
                value = tf.maximum(value, zero)  # sums would be joined into one operation
            return value

        return _best(lambda: work(zero))

    return max((chain(_CHAIN) - chain(0)) / _CHAIN, 1e-9)


def _best(call: Callable[[], Any]) -> float:
    """The shortest time of a call, in seconds, after one that traces and compiles it."""
    _timed(call)
    times = [_timed(call)]
    while sum(times) < _TRIED_SECONDS:
        times.append(_timed(call))
    return min(times)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    wait_for_devices()
    return time.perf_counter() - start


def _stages(trainer: Trainer) -> tuple[StepTimes, int]:
    """Times of ever more of a step, by turns; and the launches of the whole step."""
    model: Any = trainer.model

    def loss_of(data: Any) -> Any:
        images, labels = data
        return model.compute_loss(x=images, y=labels, y_pred=model(images, training=True))

    def gradients_of(data: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.optimizer.scale_loss(loss_of(data))
        return tape.gradient(loss, model.trainable_variables)

    trainer.start_turns()
    iterator, compiled = iter(trainer.batches), model.jit_compile
    steps = steps_for(_best(lambda: trainer.take(1)))
    workers: dict[str, Callable[[], Any]] = {"step": lambda: trainer.take(steps)}
    parts = {"input": lambda data: data, "forward": loss_of, "backward": gradients_of}
    for name, part in parts.items():
        work = repeated(part, compiled and name != "input")
        call = functools.partial(work, iterator, tf.constant(steps))
        workers[name] = functools.partial(_timed, call)
        call()  # traces it
    timing = Timing(workers, seed=0)
    for _ in range(_ROUNDS):
        timing.take()
    best = {name: min(timing.seconds(name)) / steps for name in workers}
    return StepTimes(**best), step_launches(model, iterator)
