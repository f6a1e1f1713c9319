"""What the client asks for over SSH: the commands, and taking in a job. Nothing else of the agent imports it."""
