"""What is kept: the run directory, its findings, and files that no reader meets half written."""
