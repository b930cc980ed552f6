"""What the prompts are said to: a name becomes local files, files become a model with hooks.

The only home of transformers and transformer-lens.
"""
