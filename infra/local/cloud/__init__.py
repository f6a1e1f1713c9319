"""The local cloud's EC2: requests, answers, moto's state and faults.

Machines are just processes to it.
"""
