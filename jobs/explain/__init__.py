"""Inside a network: what each depth responds to, and why one photograph gets its class."""
