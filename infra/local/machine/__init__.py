"""One machine of the local cloud: SSH server, home folder, system commands and lease."""
