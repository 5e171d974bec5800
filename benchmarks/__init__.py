"""Benchmarks: each a ratio to the raw limit measured in the same run."""
