"""What the client requests over SSH: the commands, and accepting a job. Imported by no other package of the agent."""
