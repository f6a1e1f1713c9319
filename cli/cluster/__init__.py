"""The commands about clusters, from up to down. Each reads its options, calls one function and shows the result."""
