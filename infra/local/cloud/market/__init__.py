"""What can be launched, where, and at which price."""
