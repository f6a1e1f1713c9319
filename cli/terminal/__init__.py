"""Terminal output: messages, tables, progress, a job's output; and the log."""
