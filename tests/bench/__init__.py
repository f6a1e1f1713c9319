"""Speed, measured side by side with OpenSSH and rsync in one run: `make bench` prints the table."""
