"""Buckets of S3 that machines upload to: made, checked, read and emptied."""
