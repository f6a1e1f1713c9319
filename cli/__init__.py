"""What a person types and sees. Only this folder knows the screen."""
