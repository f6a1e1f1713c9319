"""Pack the agent as one file, install it on the node, and start it only if unchanged."""

import io
import zipfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from infra.base.text import last_line
from infra.errors import NodeError
from infra.ssh.commands import execute
from infra.ssh.connection import Connection

AGENT = Path(__file__).parent / "agent"
FOLDER = ".gpujob"
CHOICE = (AGENT / "archive" / "start.py").read_text(encoding="utf-8")
# Where it is not compiled yet: Python compiles each module of a zip file twice, to find it and at once to run it.
START = """
sys.path.insert(0, choose_archive())
import functools, zipimport
if hasattr(zipimport, "_compile_source"):
    zipimport._compile_source = functools.lru_cache(1)(zipimport._compile_source)
from agent.requests.commands import main
main()
"""
CHANGED = 4

# Jobs run as the agent's user, and may overwrite it, by accident or not. So the file's hash is checked before any of it runs, as
# is that of the version that the machine's service starts through the link agent.pyz, against its name.
BOOT = f"""{CHOICE}
path, known = sys.argv[1:3]
folder, name = os.path.split(path)
def is_whole(name, known):
    with open(os.path.join(folder, name), "rb") as file:
        return sha256(file.read()).hexdigest()[:len(known)] == known
try:
    link = os.readlink(os.path.join(folder, "agent.pyz"))
    whole = is_whole(name, known) and (link == name or is_whole(link, link[6:18]))
except OSError:
    whole = False
if not whole:
    sys.stderr.write("the agent on the machine is missing or was changed; rerun the command to replace it\\n")
    sys.exit({CHANGED})
sys.argv = [path, *sys.argv[3:]]
{START}"""

# A job may have created a folder in place of a file. The agent runs uncompiled, too, as where there is no room.
INSTALL = """
mkdir -p -m 700 "$1" && cat > "$2.$$" && chmod 400 "$2.$$" || exit
for name in "$2" "$1/agent.pyz"; do [ ! -d "$name" ] || [ -L "$name" ] || rm -rf "$name"; done
mv -f "$2.$$" "$2" && ln -sfn "${2##*/}" "$1/agent.pyz" || exit
python3 -I -S "$2" compile || :
"""


@cache
def pack_agent() -> tuple[str, bytes]:
    """Return the agent's path on the node, which identifies its version, and the packed agent."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # ZipInfo without a time, so that the same code always gives the same bytes.
        archive.writestr(zipfile.ZipInfo("__main__.py"), CHOICE + START)
        for source in sorted(AGENT.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{source.relative_to(AGENT).as_posix()}"), source.read_bytes())
    return f"{FOLDER}/agent-{sha256(buffer.getvalue()).hexdigest()[:12]}.pyz", buffer.getvalue()


@cache
def pack_boot() -> bytes:
    """Return the program that fetches the agent from a bucket, small enough for user data."""
    buffer = io.BytesIO()
    modules = (
        "__init__",
        "aws/__init__",
        "aws/credentials",
        "aws/metadata",
        "aws/service",
        "aws/signing",
        "away/__init__",
        "away/boot",
    )
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), "from agent.away.boot import main\nmain()\n")
        for name in modules:
            # The packages' descriptions are not needed there.
            content = b"" if name.endswith("__init__") else (AGENT / f"{name}.py").read_bytes()
            about = zipfile.ZipInfo(f"agent/{name}.py")
            archive.writestr(about, content, zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def install_agent(connection: Connection) -> None:
    """Install the agent on the node atomically."""
    path, content = pack_agent()
    # The machine itself starts it by the short name: the unit in its user data cannot know the version.
    words = ["sh", "-c", INSTALL, "sh", FOLDER, path]
    answer = execute(connection, words, lambda stdin, _: write(stdin, content))
    if answer.exit_code:
        hint = f"look at its disk: gpujob ssh {connection.cluster.name} --node {connection.rank} -- df ."
        raise NodeError(
            f"cannot install the agent{connection.on_node or ' on the node'}: {last_line(answer.stderr)}", hint
        )


def write(stdin: BinaryIO, content: bytes) -> None:
    """Write and flush."""
    stdin.write(content)
    stdin.flush()


def agent_argv(*arguments: str) -> list[str]:
    """Return the command that runs the agent on the node, or exits with `CHANGED` if it has changed."""
    path, content = pack_agent()
    # Without site-packages, which it does not use and which would take a quarter of its start.
    return ["python3", "-I", "-S", "-c", BOOT, path, sha256(content).hexdigest(), *arguments]
