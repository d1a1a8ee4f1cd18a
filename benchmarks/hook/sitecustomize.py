"""Python imports this at its start wherever this folder is on PYTHONPATH."""

from benchmarks.stamping import install

install()
