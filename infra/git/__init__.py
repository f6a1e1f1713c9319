"""Git, started so that a project's configuration runs nothing; and its files, where read directly."""
