"""What a training step takes at larger batches.

`cnnprec scaling` compares the precisions by turns, over widths too, and says where each overtakes
single (docs/scaling.md); this has the same steps as rows of pytest-benchmark.

Run it with ``pytest benchmarks/harness/test_scaling.py -m harness``.
"""

import pytest

from cnnprec.measurement.supported import lack_of_memory
from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin.session import Session
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig

pytestmark = pytest.mark.harness

_ROUNDS = 10


@pytest.mark.each_precision
@pytest.mark.parametrize("batch", [32, 256, 2048])
@pytest.mark.usefixtures("prepared")
def test_step(benchmark, precision: Precision, batch: int, suite: Session) -> None:
    """One step on generated images."""
    from cnnprec.training.trainer import Trainer

    if reason := lack_of_memory([precision], batch, suite.device_choice):
        pytest.skip(reason)
    images = {"train_samples": 2 * batch, "test_samples": 100}
    config = TrainingConfig("scaling", **images, epochs=1, runs=1, batch_size=batch)
    trainer = Trainer(precision, config, load_dataset("synthetic", **images))
    trainer.warm_up()
    trainer.start_turns()
    benchmark.group = f"batch {batch}"
    benchmark.pedantic(trainer.take, args=(1,), rounds=_ROUNDS, warmup_rounds=2)
    benchmark.extra_info["images"] = batch
