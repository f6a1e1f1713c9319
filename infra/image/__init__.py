"""Building an image of a cluster's first node, without personal data."""
