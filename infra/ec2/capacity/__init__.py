"""Capacity: ask EC2 for machines, pool after pool, until one has them or every pool has refused."""
