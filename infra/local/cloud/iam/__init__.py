"""Callers, policies and permissions."""
