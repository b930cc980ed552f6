"""Directions in activation space, in the files of those who made them: persona vectors, axes, control vectors."""
