"""The agent that runs on a node, and its client that runs here."""
