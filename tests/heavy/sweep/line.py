"""A line, fitted."""

import time


def fit(lr: float, steps: int = 50) -> float:
    """Return the error of y = 3 x after some steps of gradient descent from y = 0."""
    slope = 0.0
    for _ in range(steps):
        slope -= lr * 2 * (slope - 3.0)
        time.sleep(0.02)  # so that the trials fill both nodes
    return min((slope - 3.0) ** 2, 1e9)
