"""The tasks of an array: their records, their folders, and what became of them. Their processes are in `array`."""
