"""Existing clusters: find, connect, list, terminate. Launching is in launch."""
