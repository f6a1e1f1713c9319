"""Run Ansible on the nodes of a cluster: its inventory, the run, its events."""
