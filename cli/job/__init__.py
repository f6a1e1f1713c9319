"""Commands for jobs, from run to receipt."""
