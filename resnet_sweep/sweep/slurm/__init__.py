"""The parts of hydra/launcher=slurm: its settings, the job array, and what runs in its jobs."""
