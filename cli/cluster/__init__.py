"""The commands about clusters, from up to down."""
