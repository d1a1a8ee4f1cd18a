"""Images: where they come from, the decoded cache, batches on a device."""
