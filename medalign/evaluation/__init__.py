"""Metrics from predictions: pure functions that know no model."""
