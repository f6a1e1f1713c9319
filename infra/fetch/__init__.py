"""Downloading outputs: on request, while the job runs, or before the machine is terminated."""
