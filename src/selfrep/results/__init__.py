"""What is kept and shown: the run directory, the figures made from it, and the report a reader opens."""
