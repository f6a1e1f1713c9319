"""What --json prints of things that several commands show."""
