"""Interpretation of a model: what it has learned, where it looks, what it gets wrong."""
