"""The parts of run and send: options of a job, what is typed after the script, how processes start."""
