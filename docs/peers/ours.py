"""The suite's training step, with XLA or without, and the cells of the notebook it grew from.

``python -m docs.peers.ours suite|xla|notebook PRECISION BATCH IMAGES.npz``
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from cnnprec.precision.precisions import get_precision
from cnnprec.workload.dataset import Dataset
from cnnprec.workload.profiles import get_profile
from docs.peers.child import serve


def suite(jit: str, name: str, batch: int, images: Any, labels: Any) -> Callable[[int], None]:
    """As turns are timed."""
    from cnnprec.training.device import select_device
    from cnnprec.training.trainer import Trainer

    select_device("cpu")
    config = get_profile("quick").override(batch_size=batch, train_samples=len(images), jit=jit)
    few = slice(config.test_samples)
    data = Dataset("peers", "", "", images, labels, images[few], labels[few])
    trainer = Trainer(get_precision(name), config, data)
    trainer.warm_up()
    trainer.start_turns()
    return trainer.take


def notebook_model(name: str) -> Any:
    """The model of the notebook's two functions, compiled as there."""
    import tensorflow as tf
    from keras import layers, models

    dtype = get_precision(name).policy_name
    tf.keras.mixed_precision.set_global_policy(dtype if "mixed" in dtype else "float32")
    given = {} if "mixed" in dtype else {"dtype": dtype}
    model = models.Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1), **given),
            layers.MaxPooling2D((2, 2), **given),
            layers.Conv2D(64, (3, 3), activation="relu", **given),
            layers.MaxPooling2D((2, 2), **given),
            layers.Conv2D(64, (3, 3), activation="relu", **given),
            layers.Flatten(**given),
            layers.Dense(64, activation="relu", **given),
            layers.Dense(10, activation="softmax", **given),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def notebook(name: str, batch: int, images: Any, labels: Any) -> Callable[[int], None]:
    """The notebook's two functions, of which only the time is left out."""
    model, scaled = notebook_model(name), images / 255.0

    def take(steps: int) -> None:
        few = slice(steps * batch)
        model.fit(scaled[few], labels[few], batch_size=batch, epochs=1)

    return take


def main() -> None:
    """Answers what the parent asks until it ends."""
    way, name, batch, path = sys.argv[1:]
    loaded = np.load(path)
    work = name, int(batch), loaded["images"], loaded["labels"]
    jit = {"suite": "off", "xla": "on"}
    serve(lambda: notebook(*work) if way == "notebook" else suite(jit[way], *work))


if __name__ == "__main__":
    main()
