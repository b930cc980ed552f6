"""Numbers from numbers: arrays in, intervals, nulls and reasons out. No model, no prompts, no torch."""
