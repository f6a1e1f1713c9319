"""A sent job on one of its machines, without laptop or controller; its state is in a bucket.

Below CLUSTER/TOKEN/ in the bucket, written by the laptop once: the agent, `send.json` (the request and settings), and `pack`
(the project's files). Written by the machines: `boots/MACHINE.json`; `tasks/N/claim`; what attempt A of task N uploads, below
`tasks/N/A/`, see `bucket`; `tasks/N/end.json`. Written by the laptop later: `stop`, `lease.json`.
"""
