"""Data sets: files stored once on the machine that jobs see, read-only, at a path of their project."""
