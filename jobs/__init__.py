"""Training code for image classifiers, independent of the rest: torch, torchvision, the standard stack."""
