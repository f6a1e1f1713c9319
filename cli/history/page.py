"""The page of all runs: a table, and a chart for each metric, as plain HTML and SVG without scripts."""

from collections.abc import Iterator, Mapping, Sequence

from cli.arrays.table import Table
from cli.history.plots import render_array
from cli.history.svg import clean, link, place, start_chart
from infra.history.metrics import Metrics

MOST_POINTS, MOST_CURVES, MOST_CHARTS = 300, 24, 24
SHORT = 16  # characters of a text that is not wrapped
HUES = 137  # degrees between the colours of two curves; no two of the first 24 are alike
HEAD = """<html lang="en"><meta charset="utf-8"><title>{0}: runs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top }}
td {{ white-space: nowrap }}
.text {{ white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 30rem }}
.wide {{ overflow-x: auto; margin-top: 1rem }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem }}
figure {{ margin: .75rem 0 0 }} svg {{ width: 100%; height: auto }} figcaption {{ font-weight: 600 }}
text {{ fill: currentColor; font-size: 11px }} .axis {{ stroke: #8888; fill: none }}
polyline {{ fill: none; stroke-width: 1.8 }}
.mean {{ stroke: currentColor; opacity: .45 }} .label {{ text-anchor: middle }}
.task {{ fill: hsl(210 70% 50%); fill-opacity: .75; stroke: hsl(210 70% 50%) }} .hollow {{ fill-opacity: 0 }}
i {{ display: inline-block; width: .7em; height: .7em; margin-right: .4em }}
</style>
<h1>{0}: runs</h1>
"""


def render_page(
    project: str,
    rows: Sequence[Mapping[str, str]],
    curves: Sequence[Metrics],
    arrays: Mapping[str, Table],
    note: str = "",
) -> str:
    """Return the page with a note below its table, and with its arrays by name, the latest first.

    Every text on it may come from a node and is escaped.
    """
    parts = [HEAD.format(clean(project)), *render_table(rows), f"<p>{clean(note)}</p>\n" * bool(note)]
    names = list(dict.fromkeys(name for metrics in curves for name, values in metrics.items() if len(values) > 1))
    shown = list(enumerate(zip(rows, curves, strict=True)))[-MOST_CURVES:]
    parts.append('<div class="charts">\n')
    for name in names[:MOST_CHARTS]:
        parts += render_chart(name, {at: (row["run"], found[name]) for at, (row, found) in shown if name in found})
    parts.append("</div>\n")
    for folder, table in reversed([*arrays.items()]):
        parts += render_array(folder, table)
    return "".join(parts)


def colour(at: int) -> str:
    """Return the colour of a run's curves."""
    return f"hsl({at * HUES % 360} 65% 50%)"


def render_table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield the table of the runs, each with the colour of its curves."""
    yield '<div class="wide"><table><tr>'
    yield from (f"<th>{clean(name)}" for name in (rows[0] if rows else ()))
    for at, row in enumerate(rows):
        mark = f'<i style="background: {colour(at)}"></i>'
        yield "\n<tr>"
        for name, value in row.items():
            kind = ' class="text"' if name in ("name", "command", "note") and len(value) > SHORT else ""
            yield f"<td{kind}>{mark * (name == 'run')}{link(value)}"
    yield "\n</table></div>\n"


def render_chart(name: str, curves: Mapping[int, tuple[str, Sequence[float]]]) -> Iterator[str]:
    """Yield the chart of one metric, with a curve for each run that has it."""
    every = [value for _, values in curves.values() for value in values]
    if not every:
        return
    low, high, longest = min(every), max(every), max(len(values) for _, values in curves.values())
    yield from start_chart(name, low, high)
    for at, (run, values) in curves.items():
        last = max(longest - 1, 1)
        steps = choose_steps(len(values))
        points = [place(step / last, values[step], low, high) for step in steps]
        end = points[-1].split(",")
        yield f'\n<g><title>{clean(run)}</title><polyline stroke="{colour(at)}" points="{" ".join(points)}"/>'
        yield f'<circle r="2.5" fill="{colour(at)}" cx="{end[0]}" cy="{end[1]}"/></g>'
    yield "</svg></figure>\n"


def choose_steps(count: int) -> list[int]:
    """Return the steps of a long curve to draw: evenly spaced ones, and the last."""
    stride = -(-count // MOST_POINTS)
    return sorted({*range(0, count, stride), count - 1})
