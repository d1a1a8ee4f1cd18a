"""The studies of docs/studies: run by one command each, and their pages made of their tables."""
