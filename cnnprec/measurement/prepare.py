"""What has to be known before the first training: the device, its environment, the images."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cnnprec.machine.names import DeviceError
from cnnprec.measurement.environment import describe_environment
from cnnprec.precision.precisions import Precision, format_precisions
from cnnprec.records.record import DataInfo, Environment
from cnnprec.training.device import supports_tf32
from cnnprec.training.strategy import select_strategy
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A device that is set up, its environment, and verified images."""

    dataset: Dataset
    environment: Environment
    strategy: Any = None  # of `tf.distribute`, where several replicas share each batch
    seconds: float = 0.0  # that it took, with the loading of TensorFlow; 0 where nobody timed it

    @property
    def data_info(self) -> DataInfo:
        """Which data these are, for records."""
        return DataInfo(self.dataset.name, self.dataset.source, self.dataset.digest)


def prepare(
    config: TrainingConfig,
    precisions: Iterable[Precision],
    *,
    dataset: str = "auto",
    data_dir: Path | None = None,
    device: str = "auto",
) -> Prepared:
    """Sets up the device, before TensorFlow's first operation, and loads images; see `measure`."""
    selected, strategy = select_strategy(config.strategy, device, config.batch_size)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    tf32 = [precision for precision in precisions if precision.tensor_float_32]
    if tf32 and not supports_tf32():
        raise DeviceError(
            f"--precision {format_precisions(tf32)}: the device {selected} has no TF32 arithmetic; "
            "it needs an NVIDIA GPU of compute capability 8.0 (Ampere) or later"
        )
    sizes = {"train_samples": config.train_samples, "test_samples": config.test_samples}
    images = load_dataset(dataset, data_dir=data_dir, **sizes)
    return Prepared(images, describe_environment(selected, replicas), strategy)
