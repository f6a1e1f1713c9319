"""Install a job's own project into the job's environment: metadata, commands, and a path to its code."""
