"""Shell completion: the command that installs it, and the answers, from local records only."""
