"""The kinds of storage that a study can be kept in, each safe for many processes."""
