"""A job from its place in the queue to its end: who waits, who runs it, who watches it, and who takes over. No outputs."""
