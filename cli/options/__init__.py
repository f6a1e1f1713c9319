"""Options, their types, and their sources: command line, environment variables, gpujob.toml."""
