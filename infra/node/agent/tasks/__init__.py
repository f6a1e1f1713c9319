"""The tasks of an array as the client asks for them, and their working trees."""
