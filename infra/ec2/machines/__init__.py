"""What a cluster consists of on EC2: launched, found and removed."""
