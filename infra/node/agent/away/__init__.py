"""A sent job on one of its machines, which needs neither laptop nor controller; its state is in a bucket.

Below CLUSTER/TOKEN/ in the bucket, written by the laptop once: the agent, `send.json` (request and settings), `pack` (the
project's files). Written by the machines: `boots/MACHINE.json`; `tasks/N/claim`; what attempt A of task N uploads, below `tasks/N/A/`;
`tasks/N/end.json`. Written by the laptop later: `stop`, `lease.json`.
"""
