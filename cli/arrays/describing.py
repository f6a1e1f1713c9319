"""Say what an array consists of."""

import math

from cli.terminal.formats import plural
from infra.base.text import printable
from infra.model import Array


def describe_array(array: Array) -> str:
    """Return how many tasks an array has, and what of: 6 tasks: lr (2) x seed (3), at most 4 at a time."""
    counts = {name: len(values) for name, values in array.grid.items()}
    named = printable(" x ".join(f"{name} ({count})" for name, count in counts.items()))
    if math.prod(counts.values()) != len(array.tasks):  # some of the combinations, as in the rows of a file
        named = printable(", ".join(counts))
    limit = f", at most {array.at_once} at a time" if array.at_once else ""
    return f"{plural(len(array.tasks), 'task')}{named and f': {named}'}{limit}"
