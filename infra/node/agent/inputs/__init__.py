"""A job's inputs besides its code."""
