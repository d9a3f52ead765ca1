"""The same seed gives the same weights, in every precision that a CPU has.

`tf.config.experimental.enable_op_determinism` is for a whole process and cannot be taken
back, so one process of its own trains every precision. docs/determinism.md tells what else
changes the weights.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig
from tests.training.test_trainer import TRAINABLE

# A CPU has no TF32.
NAMES = [name for name, precision in PRECISIONS.items() if not precision.tensor_float_32]
# 10 steps a seed. What costs is tracing, which is why each model is traced once and reset.
CONFIG = TrainingConfig("tiny", 40, 10, epochs=2, runs=1, batch_size=8)
SEEDS = (12, 12, 13)


def digest(arrays: Iterable[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def main() -> None:
    """Prints for each precision its name and a digest for each of `SEEDS`."""
    import tensorflow as tf

    from cnnprec.training.trainer import Trainer

    tf.config.experimental.enable_op_determinism()
    data = load_dataset(
        "synthetic", train_samples=CONFIG.train_samples, test_samples=CONFIG.test_samples
    )
    for name in NAMES:
        trainer = Trainer(PRECISIONS[name], CONFIG, data)
        digests = []
        for seed in SEEDS:
            trainer.reset(seed)
            trainer.fit()
            # The losses too: pure half ends in weights of NaN, which are all alike.
            losses = trainer.model.step_log.losses()
            digests.append(digest([losses, *trainer.model.get_weights()]))
        sys.stdout.write(" ".join([name, *digests]) + "\n")


@pytest.fixture(scope="module")
def digests() -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.training.test_determinism import main; main()"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return {name: words for name, *words in map(str.split, done.stdout.splitlines())}


def test_every_precision_of_a_cpu_was_trained(digests: Any) -> None:
    assert list(digests) == NAMES
    assert all(len(words) == len(SEEDS) for words in digests.values())


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_losses_and_weights_to_the_last_bit(name, digests):
    first, second, _ = digests[name]
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_others(name, digests):
    first, _, other = digests[name]
    assert first != other


def test_precisions_that_train_end_in_different_weights(digests):
    """Each digest is that of its own precision."""
    assert len({digests[name][0] for name in TRAINABLE}) == len(TRAINABLE)


def test_digest_sees_a_single_bit():
    weights = np.ones(3, np.float32)
    changed = np.nextafter(weights, np.float32(2))
    assert digest([weights]) == digest([weights.copy()])
    assert digest([weights]) != digest([np.concatenate([weights[:2], changed[2:]])])
