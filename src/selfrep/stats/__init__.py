"""What the measurements mean: labelled arrays in, estimates with intervals, nulls and gates out. No model, no torch."""
