"""Git, run so that a project's configuration starts nothing: what it would commit, and what a commit holds."""
