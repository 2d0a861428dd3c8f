"""Intervals, paired tests, corrections and power: NumPy and SciPy, no model."""
