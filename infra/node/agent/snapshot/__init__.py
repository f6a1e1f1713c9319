"""The uploaded code: a store of contents, and each job's own copy; without outputs."""
