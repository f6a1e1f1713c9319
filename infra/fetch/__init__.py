"""From a node to a job's folder on this laptop: now, while the job runs, or before the machine ends."""
