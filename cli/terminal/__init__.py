"""What a person sees: lines, tables, progress, a job's output; and the log. Knows no command."""
