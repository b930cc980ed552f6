"""The steps of a run: each computes a few groups of the run directory, and only what its estimands need."""
