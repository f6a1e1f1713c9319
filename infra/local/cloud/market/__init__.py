"""What can be launched, where, and at what price."""
