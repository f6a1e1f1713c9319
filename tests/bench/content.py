"""What travels: projects of many files, and scripts that write much."""

import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

WORD_BYTES = 6
PARAGRAPH_BYTES = 1000
FILES_A_FOLDER = 100

# Lines that compress about as logs do, since every byte of them but the number is the same in each block of lines.
WRITE_LOG = """
import random, sys
left = int(sys.argv[1])
block = b"".join(b"step %d loss %f\\n" % (n, random.random()) for n in range(10_000))
while left > 0:
    left -= sys.stdout.buffer.write(block[:left])
"""

WRITE_OUTPUT = """
import os, sys
left = int(sys.argv[1])
with open("big.bin", "wb") as file:
    while left > 0:
        left -= file.write(os.urandom(min(left, 1 << 20)))
"""

SCRIPTS = {"noop.py": "pass\n", "write_log.py": WRITE_LOG, "write_output.py": WRITE_OUTPUT}


def make_scripts(folder: Path, env: Mapping[str, str]) -> Path:
    """Make a small project, committed, of the scripts that jobs run; return it."""
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
    (folder / ".gitignore").write_text("big.bin\nruns/\n")
    commit(folder, env)
    return folder


def make_project(folder: Path, count: int, size_bytes: int, env: Mapping[str, str]) -> Path:
    """Make a project, committed, of new content: three files of four are text, the fourth does not compress; return it."""
    chance = random.Random()  # seeded by chance: no node can have any of it already
    words = [chance.randbytes(WORD_BYTES // 2).hex() for _ in range(3000)]
    paragraphs = [" ".join(chance.choices(words, k=PARAGRAPH_BYTES // (WORD_BYTES + 1))) for _ in range(2000)]
    each = size_bytes // count
    for number in range(count):
        path = folder / f"part-{number // FILES_A_FOLDER:03}" / f"file-{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(chance.choices(paragraphs, k=each // PARAGRAPH_BYTES + 1)).encode()
        path.write_bytes(text[:each] if number % 4 else chance.randbytes(each))
    commit(folder, env)
    return folder


def change(folder: Path, token: str) -> str:
    """Append a token to one file of a project; return the file's path in it."""
    path = min(folder.glob("part-*/*"))
    with path.open("a") as file:
        file.write(f"\n{token}\n")
    return path.relative_to(folder).as_posix()


def commit(folder: Path, env: Mapping[str, str]) -> None:
    """Make a git repository of a folder, with one commit."""
    settings = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "core.compression=0"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=bench"]):
        subprocess.run(["git", *settings, "-c", "gc.auto=0", *words], cwd=folder, env=env, check=True, timeout=60)


def remove(folder: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
