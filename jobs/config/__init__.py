"""Options as frozen dataclasses. No torch."""
