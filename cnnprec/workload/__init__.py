"""What is trained on, and how much: data sets and profiles."""
