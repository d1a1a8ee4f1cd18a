"""A study on disk: its folder, its storage and locks, its tickets and how they stand."""
