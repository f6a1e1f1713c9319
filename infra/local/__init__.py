"""The local cloud: a moto server and one real SSH host per running instance."""
