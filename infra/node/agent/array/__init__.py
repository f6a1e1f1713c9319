"""The processes of an array: its dispatcher hands out its tasks, and forks a runner for each. See docs/design/arrays.md."""
