"""What several commands do: reach, submit and follow a job, download outputs, terminate a cluster."""
