"""What starts machines: what can be had, the plan, creation, readiness, stop and start. Ends only what it could not finish."""
