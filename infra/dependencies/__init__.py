"""What a job needs installed: the nearest manifest of its project, found and read before anything is uploaded."""
