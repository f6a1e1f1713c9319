"""Building an image of a cluster's first node, clean of whose it was."""
