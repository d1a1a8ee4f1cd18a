"""What hangs on Hydra while it runs one job or many."""
