"""The options as frozen values. No torch."""
