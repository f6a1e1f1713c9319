"""What a person sees: lines, tables, progress and a job's output, harmless whatever is in it; and the log. Knows no command."""
