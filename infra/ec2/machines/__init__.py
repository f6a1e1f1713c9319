"""A cluster's EC2 resources: launched, found and removed."""
