"""All attempts so far, a line for each: `python -m jobs.board`.

It reads the runs that gpujob downloaded to `runs/`, or other folders there that hold a training's results: what each
changed compared with the best before it, its accuracy with its interval, cost and day. It draws the best so far. What
you think of a run, and what the leaderboard says of it, is kept in runs/notes.csv:

    python -m jobs.board --note 3="confuses shirts; try squish" --leaderboard 3=0.812
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .attempts import ACCURACY, NOTES, Attempt, Note, find_attempt, list_attempts, read_notes, read_score, write_notes
from .errors import DataError
from .program import Parser, check_file, count_of, names_of, run_program, say, visible

MOST_CHANGES, MOST_NAMES = 4, 16


@dataclass(frozen=True)
class Row:
    """An attempt on the board."""

    attempt: Attempt
    changes: Sequence[str]
    """What differs from the best attempt before it."""
    best: bool
    """Whether it is better than all before it."""


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Run the program and return the rows; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.board", description="List all attempts: what changed, accuracy, cost, notes.")
    add = parser.add_argument
    add("runs", type=Path, nargs="?", default=Path("runs"), metavar="RUNS", help="folder of the runs (%(default)s)")
    add("--note", action="append", default=[], metavar="RUN=TEXT", help="note something about a run; repeatable")
    add("--leaderboard", action="append", default=[], metavar="RUN=SCORE", help="note its public score; repeatable")
    add("--json", action="store_true", help="print JSON")
    add("--out", type=Path, metavar="FILE", help="picture of the best so far (board.png in the folder of the runs)")
    asked = parser.parse_args(argv)

    def run() -> list[Row]:
        if asked.note or asked.leaderboard:
            take_notes(asked.runs, asked.note, asked.leaderboard)
        rows = make_rows(choose(list_attempts(asked.runs), hush=asked.json))
        if asked.json:
            say(json.dumps([describe(row) for row in rows], indent=2))
        else:
            show(asked.runs, rows)
        if rows:
            out = asked.out or asked.runs / "board.png"
            check_file(out)
            draw(out, rows)
            if not asked.json:
                say(str(out))
        return rows

    return run_program("jobs.board", run)


def take_notes(runs: Path, texts: Sequence[str], scores: Sequence[str]) -> None:
    """Add notes and scores to the table next to the runs; an empty one is removed. Raises DataError."""
    attempts, notes = list_attempts(runs), read_notes(runs)
    for words, is_score in ((texts, False), (scores, True)):
        for word in words:
            asked, equals, value = word.partition("=")
            if not equals:
                raise DataError(f"'{word}': expected {'RUN=SCORE, such as 3=0.812' if is_score else 'RUN=TEXT'}")
            run = find_attempt(attempts, asked).run
            old = notes.get(run, Note())
            new = {"leaderboard": read_score(value, "--leaderboard")} if is_score else {"text": value.strip()}
            notes[run] = replace(old, **new)
    write_notes(runs, notes)


def choose(attempts: Sequence[Attempt], hush: bool) -> list[Attempt]:
    """Return the attempts that are scored like the latest, as others cannot be compared with it."""
    kept = [each for each in attempts if each.figure == attempts[-1].figure]
    if len(kept) < len(attempts) and not hush:
        others = names_of(sorted({each.figure for each in attempts} - {attempts[-1].figure}))
        say(f"{count_of(len(attempts) - len(kept), 'attempt')} with another score ({others}) not shown")
    return kept


def make_rows(attempts: Sequence[Attempt]) -> list[Row]:
    """Return the attempts in order, each compared with the best before it."""
    rows: list[Row] = []
    best: Attempt | None = None
    for each in attempts:
        is_best = best is None or each.is_better(best)
        rows.append(Row(each, each.compare(best) if best else [], is_best))
        best = each if is_best else best
    return rows


def show(runs: Path, rows: Sequence[Row]) -> None:
    """Print a line for each attempt, cut to the width of a terminal, and what they cost together."""
    if not rows:
        say(f"{runs}: no run there has trained a model to its end")
        return
    heads = (
        "",
        "run",
        "day",
        rows[-1].attempt.figure,
        "95% interval",
        "leaderboard",
        "cost",
        "changed since the best, and notes",
    )
    lines = [heads, *map(list_cells, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads) - 1)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines:
        *cells, last = line
        text = "  ".join(
            f"{cell:>{width}}" if at > 2 else f"{cell:<{width}}"
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        text = f"{text}  {last}".rstrip()
        say(f"{text[: room - 1]}…" if 0 < room < len(text) else text)
    costs = [row.attempt.usd for row in rows if row.attempt.usd is not None]
    total = f", {write_cost(sum(costs))} together" if costs else ""
    dry = "; dry runs cost nothing: the cost is what AWS would have billed" if any(r.attempt.dry for r in rows) else ""
    say(f"* better than all before; {count_of(len(rows), 'attempt')}{total}{dry}")
    if all(row.attempt.note == Note() for row in rows):
        say(f"to note something: python -m jobs.board --note {rows[-1].attempt.run}=TEXT (kept in {runs / NOTES})")


def list_cells(row: Row) -> tuple[str, ...]:
    """Return an attempt as the cells of a line."""
    attempt, score = row.attempt, row.attempt.score
    interval = f"{score.low:.1%} to {score.high:.1%}" if score.low == score.low else ""
    changes = ", ".join(row.changes[:MOST_CHANGES])
    if (more := len(row.changes) - MOST_CHANGES) > 0:
        changes += f" and {more} more"
    board = attempt.note.leaderboard
    return (
        "*" if row.best else "",
        attempt.run,
        f"{attempt.started:%d %b}",
        f"{score.value:.1%}" if attempt.figure == ACCURACY else f"{score.value:.4g}",
        interval,
        "" if board is None else f"{board:g}",
        "" if attempt.usd is None else write_cost(attempt.usd),
        "; ".join(filter(None, (changes, attempt.note.text))),
    )


def write_cost(usd: float) -> str:
    """Return a cost, small ones in two digits."""
    return f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def describe(row: Row) -> dict[str, Any]:
    """Return an attempt as plain values."""
    attempt, score = row.attempt, row.attempt.score
    has_interval = score.low == score.low
    return {
        "run": attempt.run,
        "started": attempt.started.isoformat(timespec="seconds"),
        "figure": attempt.figure,
        "score": score.value,
        "interval": [score.low, score.high] if has_interval else None,
        "best": row.best,
        "changed": list(row.changes),
        "usd": attempt.usd,
        "leaderboard": attempt.note.leaderboard,
        "note": attempt.note.text,
    }


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Plot the scores with their intervals, the best so far as steps, and the leaderboard's scores."""
    from .look.names import shorten
    from .look.plots import BLUE, GREY, INK, ORANGE, figure

    scores = [row.attempt.score for row in rows]
    at = list(range(1, len(rows) + 1))
    bests = [score.value for score, row in zip(scores, rows, strict=True) if row.best]
    best = [bests[sum(row.best for row in rows[:end]) - 1] for end in at]
    name, is_accuracy = rows[-1].attempt.figure, rows[-1].attempt.figure == ACCURACY
    with figure(path, size=(7.2, 4.2)) as axis:
        axis.step([*at, len(at) + 0.5], [*best, best[-1]], where="post", color=BLUE, label="best so far")
        sides = [[s.value - s.low for s in scores], [s.high - s.value for s in scores]]
        axis.errorbar(at, [s.value for s in scores], sides, fmt="o", color=INK, ecolor=GREY, capsize=3, label="attempt")
        board = [(x, row.attempt.note.leaderboard) for x, row in zip(at, rows, strict=True)]
        if shown := [(x, score) for x, score in board if score is not None and (0 <= score <= 1 or not is_accuracy)]:
            axis.plot(*zip(*shown, strict=True), "D", color=ORANGE, label="leaderboard")
        axis.set_xlim(0.5, len(at) + 0.5)
        named = at[:: -(-len(at) // MOST_NAMES)]
        names = [shorten(visible(rows[x - 1].attempt.run), 20) for x in named]
        axis.set_xticks(named, names, rotation=30, ha="right", parse_math=False)
        axis.set_ylabel(f"test {name}, 95% interval" if is_accuracy else f"test {name}", parse_math=False)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")


if __name__ == "__main__":
    main()
