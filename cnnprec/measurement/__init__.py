"""The only clock: turns, environment, progress."""
