"""The weights: a name becomes local files, and files become a model with named sites.

The only home of transformers and transformer-lens.
"""
