"""What a job imports: its dependencies, its own environment on top, and missing programs."""
