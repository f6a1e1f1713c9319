"""Capacity: request machines from EC2, pool after pool, until one has them or all have refused."""
