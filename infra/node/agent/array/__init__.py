"""The processes of an array: a dispatcher hands out its tasks, and forks a runner for each.

See docs/design/arrays.md.
"""
