"""How weights change: optimizers, schedule, precision. No data."""
