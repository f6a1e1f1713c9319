"""Clusters that exist: on which cloud, found, reached, listed, terminated. Launching is in launch."""
