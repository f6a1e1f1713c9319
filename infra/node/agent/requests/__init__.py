"""The client's requests over SSH: commands, and accepting a job."""
