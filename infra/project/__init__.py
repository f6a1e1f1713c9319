"""The user's code: its folder, the files to upload, and its gpujob.toml; without knowledge of nodes."""
