"""Git, started here only, so that a project's configuration runs nothing; and what of its files is read without it."""
