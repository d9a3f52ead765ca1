"""What is kept of a session: the record, its JSON, reading and writing files. No TensorFlow."""
