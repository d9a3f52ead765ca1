"""Memory does not grow with the data by more than the data.

Run it with ``pytest benchmarks/harness/test_memory.py -m harness``.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.pytest_plugin.session import Session

pytestmark = pytest.mark.harness

_SMALL, _LARGE = 3_200, 60_000
# Of this suite's specification. The 56,800 more images are 45 MB as uint8; what the
# notebook made of them was 376 MB of float64.
_MOST_BYTES = 120_000_000

# A process of its own for each run: the peak of a process never falls. It ends after 150
# steps, by when all that a step needs was allocated twice over; the order of the images
# is random, so that these steps read from everywhere in the set.
_RUN = """
import sys
from cnnprec.workload.profiles import TrainingConfig
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.training.device import select_device
from cnnprec.machine.memory import peak_resident_bytes
from cnnprec.precision.precisions import get_precision
from cnnprec.training.trainer import Trainer

STEPS = 150

class Enough(Exception):
    pass

def stop(epoch, steps, loss):
    if steps >= STEPS:
        raise Enough

name, samples, choice, data_dir, device = sys.argv[1:]
select_device(device)
config = TrainingConfig("memory", int(samples), 1_000, epochs=2, runs=1, batch_size=32)
dataset = load_dataset(
    choice, data_dir=data_dir or None, train_samples=config.train_samples, test_samples=1_000
)
trainer = Trainer(get_precision(name), config, dataset)
trainer.warm_up()
trainer.reset(config.seed)
try:
    trainer.fit(stop)
except Enough:
    print(peak_resident_bytes())
"""


@pytest.mark.each_precision
@pytest.mark.usefixtures("prepared")
def test_sixty_thousand_images_take_little_more_memory_than_a_few(
    benchmark, precision: Precision, suite: Session, record_property, capsys
) -> None:
    def peak(samples: int) -> int:
        done = subprocess.run(  # noqa: S603
            [
                *(sys.executable, "-c", _RUN, precision.name, str(samples)),
                *(suite.dataset_choice, str(suite.data_dir or ""), suite.device_choice),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    small = peak(_SMALL)
    benchmark.group = "harness"
    large = benchmark.pedantic(peak, args=(_LARGE,), rounds=1)
    report = {"small_bytes": small, "large_bytes": large, "difference_bytes": large - small}
    benchmark.extra_info["memory"] = report
    record_property("memory", json.dumps(report))
    with capsys.disabled():
        print(f"\n  {precision}: {(large - small) / 1e6:.0f} MB more for {_LARGE} images")  # noqa: T201
    assert large - small <= _MOST_BYTES, report
