"""The process that answers: its entrance, the actions that moto lacks, its controls and its record of calls."""
