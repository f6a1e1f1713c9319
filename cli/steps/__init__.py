"""Steps shared by commands: connect, submit and follow a job, download outputs, terminate a cluster."""
