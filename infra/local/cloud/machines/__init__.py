"""Instances: launching, images, console output and metadata, and the host behind each."""
