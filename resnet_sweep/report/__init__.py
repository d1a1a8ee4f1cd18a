"""Tables of what is on disk."""
