"""A job's bucket: while the job runs, its machine uploads log and complete outputs there.

docs/design/bucket.md describes the objects.
"""
