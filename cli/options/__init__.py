"""What was typed, and where else it may come from: options, their values, gpujob.toml, variables."""
