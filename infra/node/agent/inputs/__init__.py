"""What a job needs before it can run, besides its code."""
