import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from cnnprec.training.step_log import StepLog

VALUES = st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=8)


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "xla"])
def test_log_keeps_every_step_in_order(jit):
    log = StepLog(8)
    note = log.note if jit is None else tf.function(log.note, jit_compile=jit)

    @given(VALUES)
    @example([(float("nan"), float("inf")), (-0.0, 1e-45)])
    def check(values):
        log.clear()
        for loss, scale in values:
            note(tf.constant(loss, tf.float32), tf.constant(scale, tf.float32))
        losses, scales = (
            (np.array(v, np.float32) for v in zip(*values, strict=True)) if values else ([], [])
        )
        np.testing.assert_array_equal(log.losses(), losses)
        np.testing.assert_array_equal(log.scales(), scales)

    # CPU kernels may flush float32 subnormals; 1e-45 is stored, not computed with.
    check()


def test_half_precision_losses_are_kept_as_float32():
    log = StepLog(1)
    log.note(tf.constant(0.1, tf.float16), 1.0)
    assert log.losses().dtype == np.float32
    assert log.losses()[0] == np.float32(np.float16(0.1))


def test_step_that_was_never_noted_is_not_there():
    log = StepLog(3)
    assert log.losses().shape == (0,)
    log.note(1.0, 1.0)
    assert log.losses().shape == (1,)
