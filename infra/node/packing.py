"""The agent on its way: packed as one file, put on the node, and started only as it was packed."""

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
START = "from agent.requests.commands import main\nmain()\n"
CHANGED = 4

# Jobs have the agent's user, and may overwrite it by accident or not. So the file is read and compared before any of it runs, as
# is what the machine's own service starts, by the link agent.pyz: whichever version that is, it must be what its name says.
BOOT = f"""
import hashlib, os, sys
path, known = sys.argv[1:3]
folder, name = os.path.split(path)
def is_whole(name, known):
    with open(os.path.join(folder, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:len(known)] == known
try:
    link = os.readlink(os.path.join(folder, "agent.pyz"))
    whole = is_whole(name, known) and (link == name or is_whole(link, link[6:18]))
except OSError:
    whole = False
if not whole:
    sys.stderr.write("the agent on the machine is missing or was changed; rerun the command to replace it\\n")
    sys.exit({CHANGED})
sys.argv = [path, *sys.argv[3:]]
sys.path.insert(0, path)
{START}"""

# A job may have made a folder where a file belongs.
INSTALL = """
mkdir -p -m 700 "$1" && cat > "$2.$$" && chmod 400 "$2.$$" || exit
for name in "$2" "$1/agent.pyz"; do [ ! -d "$name" ] || [ -L "$name" ] || rm -rf "$name"; done
mv -f "$2.$$" "$2" && ln -sfn "${2##*/}" "$1/agent.pyz"
"""


@cache
def pack_agent() -> tuple[str, bytes]:
    """Return the agent as one file that Python runs, and its path on the node, which tells versions apart."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # ZipInfo without a time, so that the same code always makes the same bytes.
        archive.writestr(zipfile.ZipInfo("__main__.py"), START)
        for source in sorted(AGENT.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{source.relative_to(AGENT).as_posix()}"), source.read_bytes())
    return f"{FOLDER}/agent-{sha256(buffer.getvalue()).hexdigest()[:12]}.pyz", buffer.getvalue()


def install_agent(connection: Connection) -> None:
    """Put the agent on the node, whole or not at all."""
    path, content = pack_agent()
    # By the short name the machine itself finds it: the unit in its user data cannot know the version.
    words = ["sh", "-c", INSTALL, "sh", FOLDER, path]
    answer = execute(connection, words, lambda stdin, _: write(stdin, content))
    if answer.exit_code:
        raise NodeError(f"the agent could not be put on the node: {last_line(answer.stderr)}")


def write(stdin: BinaryIO, content: bytes) -> None:
    """Write and flush."""
    stdin.write(content)
    stdin.flush()


def agent_argv(*arguments: str) -> list[str]:
    """Return the command line that runs the agent on the node, or exits with `CHANGED` where it is not as it was packed."""
    path, content = pack_agent()
    # Without the site's packages, which it does not use and which cost it a quarter of its start.
    return ["python3", "-I", "-S", "-c", BOOT, path, sha256(content).hexdigest(), *arguments]
