"""What --json prints of things that several commands show: numbers in the unit of their name, times in UTC as ISO 8601."""
