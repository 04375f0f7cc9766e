"""Measured comparisons. `python -m benchmarks` runs them all; each prints medians and ratios of one run."""
