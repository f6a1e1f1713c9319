"""How the cost of commands grows with files, jobs, outputs and the rest: curves, each with its bar."""
