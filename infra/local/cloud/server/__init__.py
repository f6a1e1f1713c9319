"""The server process: its gateway, the actions that moto lacks, its controls and its record of calls."""
