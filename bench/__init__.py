"""Measurements against peers on the same machine: ``make bench`` (bench/run.py)."""
