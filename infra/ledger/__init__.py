"""What this laptop wrote down: launches and image builds under way, what was spent, what ended. Starts nothing."""
