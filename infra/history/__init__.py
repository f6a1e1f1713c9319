"""The runs of a project, read from the receipts and outputs on this computer; without any machine."""
