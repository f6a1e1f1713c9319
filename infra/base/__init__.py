"""Foundations without knowledge of clusters: locks, waiting, parallel calls, safe text, safe folders."""
