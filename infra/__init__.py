"""Machines: launch, connect, use and terminate them; without any terminal output."""
