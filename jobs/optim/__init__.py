"""How weights are updated: optimizers, schedule, precision. No data."""
