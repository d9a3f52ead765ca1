"""Which machine this is: processor, GPUs, memory, and the version of this code. No TensorFlow."""
