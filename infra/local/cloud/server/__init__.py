"""The server process: its gateway, the actions missing from moto, controls and record of calls."""
