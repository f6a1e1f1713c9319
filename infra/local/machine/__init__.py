"""One machine of the local cloud: an SSH server, a home, system commands and a lease. Knows nothing of the cloud."""
