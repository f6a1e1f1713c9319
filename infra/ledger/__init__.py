"""Local records: unfinished launches and image builds, costs, ended clusters. Launches nothing."""
