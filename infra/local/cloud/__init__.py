"""The local cloud's EC2: requests, answers, moto's state and faults.

It treats machines as plain processes.
"""
