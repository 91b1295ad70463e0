"""Benchmarks: peers, model zoo and reports."""
