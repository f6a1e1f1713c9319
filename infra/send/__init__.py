"""Sending a job: its bundle in the bucket, its group with an end before any machine, and what the bucket says of it."""
