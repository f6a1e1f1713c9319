"""Launching machines: catalogue, plan, creation, readiness, stop and start."""
