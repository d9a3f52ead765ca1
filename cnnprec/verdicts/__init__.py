"""What changed: comparability, the baseline, the statistics, the judges. Pure functions."""
