"""A job over several nodes, seen from this computer: a part of it on each, and one log of them all."""
