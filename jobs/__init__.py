"""CNN training code that stands alone: torch, torchvision and the standard stack."""
