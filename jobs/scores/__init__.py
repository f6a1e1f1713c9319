"""Figures about predictions: what a model gets right, and how sure that is."""
