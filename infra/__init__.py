"""Machines: rent them, reach them, use them, give them back. Knows no screen."""
