"""What is done to a model: activations captured, patched and replayed."""
