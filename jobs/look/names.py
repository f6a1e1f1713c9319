"""Names of classes and data sets in sentences and headings, of any length and script."""

import unicodedata

LEFT_TO_RIGHT_AROUND = ("\u2068", "\u2069")
"""Isolate a name that is written from right to left: without them the number after it moves to its other side."""


def shorten(name: str, most: int) -> str:
    """Return a name of at most `most` characters: its start and its end, by which long names differ."""
    if len(name) <= most:
        return name
    end = most // 3
    return f"{name[: most - end - 1]}…{name[-end:]}"


def isolate(name: str) -> str:
    """Return a name for use in a sentence, whichever direction it is written in."""
    rightward = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return name.join(LEFT_TO_RIGHT_AROUND) if rightward else name
