"""The record of the tasks of an array, and their counts."""
