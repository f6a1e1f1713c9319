"""Foundations that know nothing of clusters: locks, waiting, parallel calls, safe text and folders."""
