"""What jobs wrote, where it is, and sending it to the client. Starts and removes nothing."""
