"""How much of everything is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    warm_up: int = 1
    """Rounds that are not counted."""
    rounds: int = 5
    heavy_rounds: int = 3
    """For what moves a hundred megabytes and more."""
    files: int = 5000
    project_bytes: int = 100_000_000
    log_bytes: int = 200_000_000
    output_bytes: int = 1_000_000_000
    jobs: int = 50
    images: int = 20_000
    """To train on."""


QUICK = Sizes(0, 1, 1, 200, 2_000_000, 5_000_000, 20_000_000, 4, 5_000)
