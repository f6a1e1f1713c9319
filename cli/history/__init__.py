"""Commands about the runs of a project, which need no machine: runs, diff, rerun, open."""
