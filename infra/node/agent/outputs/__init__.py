"""The outputs of jobs: found, hashed, sent to the client. Starts and removes nothing."""
