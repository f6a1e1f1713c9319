"""The local cloud: a moto server, and one real SSH host for each running instance."""
