import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprec.diagnosis.causes import diagnose_run
from cnnprec.precision.precisions import PRECISIONS, get_precision
from cnnprec.records.record import Outcome, TrainingRun
from cnnprec.training.batches import _tensor, shuffled_batches
from cnnprec.training.trainer import Trainer, train
from cnnprec.workload.dataset import Dataset, aligned_empty
from cnnprec.workload.profiles import TrainingConfig

TRAINABLE = ["double", "single", "mixed_half", "mixed_bfloat16", "half_stable", "bfloat16_stable"]


@pytest.fixture(scope="module")
def trainer_of(tiny, tiny_data) -> Callable[[str], Trainer]:
    """The trainer of a precision. Tracing its graph takes longer than most of what is tested,
    so all tests share it: `run` resets it, and a test below holds that to the last bit.
    """
    return functools.cache(lambda name: Trainer(PRECISIONS[name], tiny, tiny_data))


@pytest.fixture
def single(trainer_of) -> Trainer:
    return trainer_of("single")


def run(trainer: Trainer, seed: int, on_progress=None):
    trainer.reset(seed)
    trainer.fit(on_progress)
    return trainer.finish()


@pytest.fixture(scope="module")
def result_of(trainer_of, tiny) -> Callable[[str], TrainingRun]:
    """What came of one run of a precision."""
    return functools.cache(lambda name: run(trainer_of(name), tiny.seed))


@pytest.mark.parametrize("name", TRAINABLE)
def test_precision_that_trains_lowers_its_loss_and_moves_to_the_end(name, tiny, result_of):
    result = result_of(name)
    assert result.outcome is Outcome.TRAINED
    assert result.first_bad_step is None
    assert len(result.losses) == tiny.epochs
    assert result.losses[-1] < result.losses[0]


def test_half_diverges_and_says_at_which_step(result_of):
    result = result_of("half")
    assert result.outcome is Outcome.DIVERGED
    assert math.isnan(result.losses[-1])
    bad = result.first_bad_step
    assert 0 < bad < 16
    assert all(map(math.isfinite, result.first_losses[:bad]))
    assert not math.isfinite(result.first_losses[bad])
    # An output of NaN counts as class 0; the synthetic set holds each class equally often.
    assert result.test_accuracy == 0.1


def test_bfloat16_is_frozen_and_its_loss_stays(result_of):
    result = result_of("bfloat16")
    assert result.outcome is Outcome.FROZEN
    assert result.first_bad_step is None
    # Both epochs see the same images through the same weights; only the order, and so the
    # rounding of sums of 8 losses of 3 digits, differs.
    assert result.losses[0] == pytest.approx(result.losses[1], rel=2**-8)


def test_weights_that_no_gradient_moves_are_not_called_frozen(trainer_of, tiny, tiny_data):
    """A model at rest is no freeze: all its gradients are zero."""
    trainer = trainer_of("bfloat16")
    trainer.reset(tiny.seed)
    # Dead units everywhere but in the last bias; and a bias that is already right for a
    # set of one class.
    for variable in trainer.model.trainable_variables:
        variable.assign(tf.zeros(variable.shape, variable.dtype))
    only_zeros = dataclasses.replace(tiny_data, train_labels=np.zeros_like(tiny_data.train_labels))
    one_epoch = dataclasses.replace(tiny, epochs=1)
    still = Trainer(PRECISIONS["bfloat16"], one_epoch, only_zeros)
    still.reset(tiny.seed)
    for variable in still.model.trainable_variables:
        variable.assign(tf.zeros(variable.shape, variable.dtype))
    still.model.trainable_variables[-1].assign(tf.constant([100.0] + [-100.0] * 9, tf.bfloat16))
    still.fit()
    assert still.finish().outcome is Outcome.TRAINED
    # The twin: the same dead network with balanced labels has a gradient in its last bias.
    trainer.fit()
    assert trainer.finish().outcome is Outcome.FROZEN


def test_same_seed_gives_the_same_run_to_the_last_bit(single):
    assert run(single, 5) == run(single, 5)


def test_another_seed_gives_another_run(single):
    first, second = run(single, 5), run(single, 6)
    assert first.weights_sha256 != second.weights_sha256
    assert first.losses != second.losses


@pytest.mark.parametrize(("name", "seed"), [("single", None), ("mixed_half", 5)])
def test_reset_model_trains_like_a_newly_built_one(name, seed, trainer_of, tiny, tiny_data):
    new = train(name, tiny, tiny_data, seed=seed)
    used = trainer_of(name)
    used.warm_up()
    run(used, 7)
    assert run(used, seed or tiny.seed) == new


def test_reset_also_cures_a_diverged_model(trainer_of):
    trainer = trainer_of("half")
    first, second = run(trainer, 5), run(trainer, 5)
    assert first.outcome is Outcome.DIVERGED
    assert repr(first) == repr(second)  # repr, because NaN is not equal to itself


def test_progress_is_told_after_every_execution(single, tiny):
    seen = []
    result = run(single, 5, on_progress=lambda *what: seen.append(what))
    assert [done for _, done, _ in seen] == list(
        range(tiny.steps_per_execution, tiny.steps + 1, tiny.steps_per_execution)
    )
    assert [epoch for epoch, _, _ in seen] == sorted(epoch for epoch, _, _ in seen)
    assert seen[-1][2] == pytest.approx(result.losses[-1], rel=1e-6)  # the same float32


def test_watching_progress_changes_no_result(single):
    assert run(single, 5, on_progress=lambda *_: None) == run(single, 5)


def test_first_losses_are_those_of_the_first_steps(result_of, tiny):
    result = result_of("single")
    assert len(result.first_losses) == 16
    # The first loss of ten balanced classes with small weights is near ln 10.
    assert result.first_losses[0] == pytest.approx(math.log(10), abs=0.5)
    # A record stays small: no more digits than a float32 needs.
    assert all(len(repr(loss)) <= 11 for loss in (*result.first_losses, *result.losses))
    epoch_mean = np.mean(result.first_losses[: tiny.steps_per_epoch])
    # A float32 mean of 10 values: at most 10 roundings of 2**-24 each.
    assert result.losses[0] == pytest.approx(epoch_mean, rel=10 * 2**-24)


def test_loss_scale_history_starts_at_keras_initial_scale(result_of):
    result = result_of("mixed_half")
    assert result.loss_scales[0] == (0, 2.0**15)
    scales = [scale for _, scale in result.loss_scales]
    assert all(later == scale / 2 for scale, later in itertools.pairwise(scales))


def test_precision_without_loss_scaling_has_no_scale_history(result_of):
    assert result_of("single").loss_scales == ()


def test_xla_trains_like_the_graph(single, result_of, tiny, tiny_data):
    results = {single.jit_compiled: result_of("single")}
    for compiled, jit in ((False, "off"), (True, "on")):
        if compiled not in results:
            results[compiled] = train(PRECISIONS["single"], tiny.override(jit=jit), tiny_data)
    graph, xla = results[False], results[True]
    assert xla.outcome is Outcome.TRAINED
    # The first loss is one forward pass of the same weights: a float32 dot product of at
    # most 576 terms in another order differs by at most 576 roundings of 2**-24.
    assert xla.first_losses[0] == pytest.approx(graph.first_losses[0], rel=576 * 2**-24)


@pytest.mark.parametrize(
    ("name", "jit", "compiled"),
    [
        ("single", "on", True),
        ("single", "off", False),
        ("single", "best", False),
        ("single", "both", False),
        ("single_xla", "off", True),
        ("single_xla", "both", True),
    ],
)
def test_jit_switch_reaches_keras(name, jit, compiled, tiny, tiny_data):
    trainer = Trainer(get_precision(name), tiny.override(jit=jit), tiny_data)
    assert trainer.jit_compiled is compiled


@pytest.mark.parametrize(
    ("name", "cause"),
    [("half", "Adam's second moment underflowed"), ("bfloat16", "beta_2=0.999 is 1 in bfloat16")],
)
def test_run_that_failed_is_explained_by_a_replay(name, cause, trainer_of, result_of):
    assert cause in diagnose_run(trainer_of(name), result_of(name))


def test_run_that_trained_needs_no_explanation(single, result_of):
    assert diagnose_run(single, result_of("single")) is None


def test_run_that_broke_late_is_not_replayed_for_hours(single, result_of):
    late = dataclasses.replace(result_of("single"), outcome=Outcome.DIVERGED, first_bad_step=101)
    assert diagnose_run(single, late) is None


@pytest.mark.parametrize("field", ["train_samples", "test_samples"])
def test_dataset_of_another_size_than_asked_for_is_refused(field, tiny, tiny_data):
    more = dataclasses.replace(tiny, **{field: getattr(tiny, field) + 1})
    with pytest.raises(ValueError, match=f"{getattr(more, field)} .* images asked for"):
        train(PRECISIONS["single"], more, tiny_data)


def test_tf32_is_forbidden_while_single_trains_and_put_back(single):
    get = tf.config.experimental.tensor_float_32_execution_enabled
    seen = []
    single.reset(1)
    single.fit(lambda *_: seen.append(get()))
    assert set(seen) == {False}
    assert get()  # TensorFlow's default


@settings(max_examples=20)
@given(st.data())
def test_every_epoch_is_a_permutation_in_whole_batches(data):
    samples = data.draw(st.integers(1, 60), "samples")
    batch_size = data.draw(st.integers(1, samples), "batch size")
    seed = data.draw(st.integers(0, 2**31 - 1), "seed")
    config = TrainingConfig("t", samples, 1, epochs=2, runs=1, batch_size=batch_size)
    images = tf.reshape(tf.constant(range(samples), tf.uint8), [samples, 1, 1, 1])
    labels = tf.constant(range(samples), tf.uint8)
    batches = list(shuffled_batches(images, labels, config, seed).take(config.steps))
    for x, y in batches:
        assert x.shape == (batch_size, 1, 1, 1)
        np.testing.assert_array_equal(x.numpy().ravel(), y.numpy())
    per_epoch = config.steps_per_epoch
    for epoch in range(2):
        chosen = np.concatenate(
            [y.numpy() for _, y in batches[epoch * per_epoch : (epoch + 1) * per_epoch]]
        )
        assert len(set(chosen)) == per_epoch * batch_size  # no image twice


def test_epochs_and_seeds_shuffle_differently():
    config = TrainingConfig("t", 64, 1, epochs=2, runs=1, batch_size=64)
    images, labels = tf.zeros([64, 1, 1, 1], tf.uint8), tf.constant(range(64), tf.uint8)

    def orders(seed):
        return [tuple(y.numpy()) for _, y in shuffled_batches(images, labels, config, seed).take(2)]

    assert len({*orders(1), *orders(2)}) == 4
    assert orders(1) == orders(1)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=200), st.integers(0, 63))
def test_tensor_holds_the_array_wherever_that_lies_in_memory(values, offset):
    array = np.array([0] * offset + values, np.uint8)[offset:]
    # gather is the kernel that the pipeline uses, and that aborts on unaligned memory
    assert tf.gather(_tensor(array), tf.range(len(values))).numpy().tolist() == values


def test_images_as_they_were_read_are_used_without_a_copy():
    array = aligned_empty((3, 28, 28, 1))
    array[...] = 1
    array.flags.writeable = False
    tensor = _tensor(array)
    array.base[...] = 2  # nobody does this; here it shows that the memory is the same
    assert (tensor.numpy() == 2).all()
    assert not array.flags.writeable


def test_training_leaves_the_images_as_they_are(single, tiny_data: Dataset):
    before = tiny_data.train_images.copy()
    run(single, 5)
    np.testing.assert_array_equal(tiny_data.train_images, before)
