"""What the client requests over SSH: the commands, and accepting a job."""
