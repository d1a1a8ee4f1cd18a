"""The loop, the step, what it measures and what it keeps."""
