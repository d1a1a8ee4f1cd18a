"""Train residual networks and their plain twins, and sweep their hyperparameters."""

__version__ = "0.1.0"
