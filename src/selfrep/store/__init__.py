"""The run directory, the groups of its store, and its findings."""
