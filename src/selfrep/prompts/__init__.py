"""What is said to the model: personas, questions, rendered tokens, aligned pairs. Nothing here imports torch."""
