"""Where machines are in the network, and who may reach them: subnets, security groups, this computer's address."""
