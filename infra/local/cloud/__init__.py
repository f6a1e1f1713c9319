"""The local cloud's EC2: requests, answers, moto's state and faults. Knows a machine only as a process that it starts."""
