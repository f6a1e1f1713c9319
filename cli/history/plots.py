"""An array on the page of all runs: its table, and each metric against each name of its grid, as SVG."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from urllib.parse import quote

from cli.arrays.table import Table
from cli.history.svg import EDGE, HEIGHT, LEFT, WIDTH, clean, link, place, start_chart
from cli.terminal.formats import plural
from infra.base.text import printable
from infra.model import TaskRecord
from infra.results.receipts import FILES

MOST_PLOTS, MOST_ROWS, MOST_LABELS = 6, 200, 8
BELOW = 8  # room for the labels of the values
MARGIN = 0.04  # of the width, left of the first value and right of the last
LOG_RATIO = 30
"""Values that differ more than this stand on a logarithmic axis."""


def render_array(folder: str, table: Table) -> Iterator[str]:
    """Yield a heading, the plots and the table of an array with results in a folder."""
    yield f"<h2>{clean(folder)}: {plural(len(table.tasks), 'task')}</h2>\n"
    yield '<div class="charts">\n'
    yield from islice(render_plots(table), MOST_PLOTS)
    yield "</div>\n"
    yield from render_tasks(table, folder)


def render_tasks(table: Table, folder: str) -> Iterator[str]:
    """Yield the table of the tasks, with a link to each one's outputs."""
    rows = [line.shown for line in table.lines[:MOST_ROWS]]
    above = f"{quote(folder)}/{FILES}/"
    yield '<div class="wide"><table><tr>'
    yield from (f"<th>{clean(name)}" for name in rows[0])
    for row in rows:
        yield "\n<tr>" + "".join(f"<td>{link(value, above)}" for value in row.values())
    yield "\n</table></div>\n"
    if len(table.lines) > MOST_ROWS:
        yield f"<p>and {len(table.lines) - MOST_ROWS} more</p>\n"


def render_plots(table: Table) -> Iterator[str]:
    """Yield a plot for each metric and each name of the grid that has several values."""
    for metric in table.names:
        for name, title in table.grid.items():
            points = [
                (task.record, task.record.values[name], last[metric])
                for task, last in zip(table.tasks, table.metrics, strict=True)
                if name in task.record.values and metric in last
            ]
            if len({value for _, value, _ in points}) > 1:
                yield "".join(render_plot(f"{metric} by {title}", points))


def render_plot(title: str, points: Sequence[tuple[TaskRecord, str, float]]) -> Iterator[str]:
    """Yield a plot of tasks, each with its record, value of the grid and metric; a line joins the means."""
    values = list(dict.fromkeys(value for _, value, _ in points))
    across = spread(values)
    low, high = min(y for _, _, y in points), max(y for _, _, y in points)
    yield from start_chart(title, low, high, BELOW)
    means = {value: mean([y for _, other, y in points if other == value]) for value in values}
    joined = sorted((across[value], y) for value, y in means.items())
    path = " ".join(place(x, y, low, high) for x, y in joined)
    yield f'<polyline class="mean" points="{path}"/>'
    for record, value, y in points:
        at = place(across[value], y, low, high).split(",")
        label = clean(f"task {record.index}: {value}, {y:.4g}, {record.state}")
        kind = "task" if record.state == "succeeded" else "task hollow"
        yield f'<circle class="{kind}" r="4" cx="{at[0]}" cy="{at[1]}"><title>{label}</title></circle>'
    yield from render_labels(across)
    yield "</svg></figure>\n"


def mean(numbers: Sequence[float]) -> float:
    """Return the mean of finite numbers, which may be too large to add."""
    return sum(number / len(numbers) for number in numbers)


def spread(values: Sequence[str]) -> Mapping[str, float]:
    """Return how far across values stand: by size if all are numbers, otherwise in order."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)) or len(set(numbers)) == 1:
        numbers = [float(at) for at in range(len(values))]
    elif min(numbers) > 0 and max(numbers) / min(numbers) > LOG_RATIO:
        numbers = [math.log(number) for number in numbers]
    low, high = min(numbers), max(numbers)
    # halved, because the difference of two large numbers may not be finite
    ways = ((number / 2 - low / 2) / (high / 2 - low / 2) for number in numbers)
    return {value: MARGIN + way * (1 - 2 * MARGIN) for value, way in zip(values, ways, strict=True)}


def render_labels(across: Mapping[str, float]) -> Iterator[str]:
    """Yield the values below a plot, of many only some."""
    ordered = sorted(across, key=lambda value: across[value])
    stride = -(-len(ordered) // MOST_LABELS)
    free = -math.inf
    for value in ordered[::stride]:
        text = printable(value if len(value) <= MOST_LABELS else f"{value[: MOST_LABELS - 1]}…")
        x, width = LEFT + across[value] * (WIDTH - EDGE - LEFT), 8 * len(text)
        if x - width / 2 > free:
            x = min(x, WIDTH - width / 2)
            free = x + width / 2 + 4
            yield f'<text class="label" x="{x:.1f}" y="{HEIGHT + BELOW - 4}">{clean(text)}</text>'
