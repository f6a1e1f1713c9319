"""Jobs in the bucket of a cluster: read without its machine, and what they cost."""
