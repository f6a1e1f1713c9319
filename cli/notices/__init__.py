"""Notices shared by commands: what is still billed, what was not downloaded, whether AWS was asked."""
