"""Write the page: the model, onnxruntime-web and what reads pictures, in one file."""

import base64
import gzip
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..images.decoding import DRAFT
from ..look.inside import FAINT, SPOTS, patches
from ..look.names import isolate, shorten
from ..look.plots import OVERLAY, colour
from ..look.report import STYLE
from ..models.modelfile import Facts
from ..program import count_of, visible
from .runtime import VERSION, Runtime

MOST_CLASSES, MOST_NAMED, MOST_LETTERS = 5, 12, 30
SCRIPTS = ("model.js", "resample.js", "picture.js", "map.js", "page.js")
COVER = 128
"""What covers a region: mid-grey, as everywhere."""
LICENSE = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation \
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, \
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the \
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE \
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR \
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, \
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def write_page(out: Path, facts: Facts, model: bytes, runtime: Runtime) -> None:
    """Write the page for a model in ONNX format, which takes images as `facts` says."""
    data = Path(facts.data).name
    named = ", ".join(isolate(shorten(name, MOST_LETTERS)) for name in facts.classes[:MOST_NAMED])
    more = f" and {len(facts.classes) - MOST_NAMED:,} more" if len(facts.classes) > MOST_NAMED else ""
    texts = {
        "title": f"{isolate(data)} classifier",
        "lead": f"{facts.model}, right on {facts.accuracy:.1%} of its test images. Classes: {named}{more}.",
        "known": count_of(len(facts.classes), "class", "classes"),
        "size": str(facts.shape[1]),
        "version": VERSION,
        "license": LICENSE,
    }
    parts = {name: escape(visible(text), quote=False) for name, text in texts.items()}
    parts |= {"runtime": encode(runtime.script), "wasm": encode(runtime.wasm), "model": encode(gzip.compress(model))}
    parts |= {
        "style": STYLE + read("page.css"),
        "script": "\n".join(map(read, SCRIPTS)),
        # In HTML a script ends at the first "</script", also within a string.
        "facts": json.dumps(describe(facts), ensure_ascii=False).replace("<", "\\u003c"),
    }
    out.write_text(re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read("page.html")), encoding="utf-8")


def describe(facts: Facts) -> dict[str, object]:
    """Return what the page's script must know of the model, and of how pictures and maps are made."""
    size = facts.shape[1]
    regions = [
        (rows.start, min(rows.stop, size), cols.start, min(cols.stop, size)) for rows, cols in patches(size, size)
    ]
    return {
        "classes": [visible(name) for name in facts.classes],
        "channels": facts.shape[0],
        "size": size,
        "resize": facts.resize,
        "interpolation": facts.interpolation,
        "draft": DRAFT,
        "levels": facts.levels,
        "most": MOST_CLASSES,
        "spots": SPOTS,
        "patches": regions,
        "cover": COVER,
        "overlay": OVERLAY,
        "faint": FAINT,
        "colours": colour(np.linspace(0.0, 1.0, 256)[None], "coolwarm")[0].tolist(),
    }


def encode(content: bytes) -> str:
    """Return bytes as text that a page can hold."""
    return base64.b64encode(content).decode()


def read(name: str) -> str:
    """Return a part of the page that is a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")
