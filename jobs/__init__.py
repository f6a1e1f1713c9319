"""Training code for image classifiers; independent of gpujob."""
