"""What a reader opens: findings, figures and one page from a run directory, and tables for a terminal."""
