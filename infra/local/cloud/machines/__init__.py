"""Instances: launching them, what they boot, what they report, and the host behind each."""
