"""Image files: found, listed with their classes, decoded, cached."""
