"""The agent that runs on a node, and its local client."""
