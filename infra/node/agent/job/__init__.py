"""One job from queue to end: waiting, running, supervision and recovery. Outputs are elsewhere."""
