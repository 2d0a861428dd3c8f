"""The record of a comparison in MLflow, which nothing outside this package talks to."""
