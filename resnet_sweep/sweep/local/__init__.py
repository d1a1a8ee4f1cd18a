"""The parts of hydra/launcher=local: slots, the processes in them, and what these run."""
