"""Arrays: the options that say which tasks a job has, and the table of what became of them."""
