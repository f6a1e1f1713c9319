"""Everything that talks to AWS; boto3 is imported nowhere else."""
