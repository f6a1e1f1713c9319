"""The archive that the agent is imported from, compiled for the machine's interpreter."""
