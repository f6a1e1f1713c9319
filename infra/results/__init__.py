"""A job's folder on this laptop: its layout, its receipt, and each file in its place. Nothing comes over the network here."""
