"""Looking inside a model: pictures of what it sees, where it looks, what it gets wrong."""
