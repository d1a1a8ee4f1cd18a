"""Residual networks, their plain twins, and a door for any other network."""
