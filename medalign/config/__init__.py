"""Experiment files and search spaces: strict loading, and where files are looked for."""
