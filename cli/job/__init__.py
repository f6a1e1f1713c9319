"""The commands about jobs, from run to receipt."""
