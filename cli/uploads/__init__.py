"""Jobs in the bucket of a cluster: read when its machine is gone, and what they cost."""
