"""What several commands do: reach a job, submit and follow it, download its outputs, terminate a cluster. Declares no command."""
