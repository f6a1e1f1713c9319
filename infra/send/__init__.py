"""Sending a job: its bundle in the bucket, and its group, which has an end before any machine."""
