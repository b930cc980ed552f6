"""The words: personas, items, prompts, rendered tokens, aligned pairs. Nothing here imports torch."""
