"""What is asked of which model, and a study on its way into a run directory."""
