"""Checks of the account and of clusters, and a report for bugs."""
