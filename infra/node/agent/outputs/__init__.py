"""What jobs wrote, where it lies, and sending it to the client. Nothing is started or removed here."""
