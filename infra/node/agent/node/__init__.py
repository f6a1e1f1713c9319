"""The machine as a whole: measurements, the lease, and idle shutdown. Nothing about single jobs."""
