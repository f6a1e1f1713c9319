"""SSH to a node; Fabric and Paramiko are imported nowhere else."""
