"""What a job imports: its dependencies, its own environment on top, and programs that a node may lack."""
