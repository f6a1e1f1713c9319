"""The network of machines: subnets, security groups, this computer's address."""
