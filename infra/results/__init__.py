"""A job's local results folder: its layout, its receipt and its files; without any network access."""
