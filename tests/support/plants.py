"""Batches to replay, and faults planted into a step."""

import tensorflow as tf

LAYERS = ["pixels", "conv1", "pool1", "conv2", "pool2", "conv3", "flatten", "dense1", "dense2"]


def batches(tiny_data, steps: int, size: int = 4):
    for step in range(steps):
        part = slice(step * size, step * size + size)
        yield tf.constant(tiny_data.train_images[part]), tf.constant(tiny_data.train_labels[part])


def set_element(tensor, element: int, value: float):
    flat = tf.reshape(tensor, [-1])
    place = [[element % int(flat.shape[0])]]
    return tf.reshape(
        tf.tensor_scatter_nd_update(flat, place, tf.constant([value], tensor.dtype)), tensor.shape
    )


class Plant:
    """Puts a value into one element of an activation or its gradient in one step of a model."""

    def __init__(self, model, step: int, layer: str, tensor: str, element: int, value: float):
        self._model = model
        self._step = step
        self._layer = layer
        self._tensor = tensor
        self._element = element
        self._value = value
        self._now = -1
        self._undo = []

    def __enter__(self):
        if self._tensor == "activation":
            self._wrap(self._model.get_layer(self._layer), self._after)
        elif self._tensor == "activation gradient":
            follower = self._model.layers[LAYERS.index(self._layer) + 1]
            self._wrap(follower, self._before)
        return self

    def __exit__(self, *_):
        for layer in self._undo:
            del layer.call

    def count(self, some_batches):
        """Passes batches on, and notes the step."""
        for self._now, batch in enumerate(some_batches):
            yield batch

    def _wrap(self, layer, change):
        original = layer.call
        layer.call = lambda inputs: change(original, inputs)
        self._undo.append(layer)

    def _after(self, call, inputs):
        outputs = call(inputs)
        if self._now != self._step:
            return outputs
        return set_element(outputs, self._element, self._value)

    def _before(self, call, inputs):
        @tf.custom_gradient
        def planted(tensor):
            return tf.identity(tensor), lambda up: set_element(up, self._element, self._value)

        return call(planted(inputs) if self._now == self._step else inputs)
