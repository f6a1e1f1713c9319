"""The local cloud's EC2: requests, answers, moto's state and faults. Machines are only processes to it."""
