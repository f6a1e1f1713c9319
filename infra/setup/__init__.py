"""Ansible on the nodes of a cluster: what it reads, how it is run, what it reports."""
