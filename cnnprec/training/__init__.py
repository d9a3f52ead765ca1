"""The CNN and how it is trained: device, model, batches, trainer, log of steps."""
