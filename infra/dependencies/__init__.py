"""A job's dependencies: the nearest manifest of its project, read before anything is uploaded."""
