"""The user's code: which folder it is, which files of it are uploaded, and its gpujob.toml. Knows no node."""
