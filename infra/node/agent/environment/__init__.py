"""A job's imports: its dependencies, its own environment on top, and missing programs."""
