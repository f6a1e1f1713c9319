"""Count the messages that the parts of a job over several nodes exchange, and their bytes.

The parts are threads of this process with real connections; what they send is counted where it leaves.
python -m tests.bench.messages 2 4 8 64; the results are in docs/scale.md.
"""

import io
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from infra.node.agent.muster import channel
from infra.node.agent.muster.lead import Lead, listen
from infra.node.agent.muster.member import Member, connect
from infra.node.agent.muster.tie import Group
from infra.node.agent.records import Ending

HOST = "127.0.0.1"
RUN_S = 60.0


def main() -> int:
    """Print a line of JSON for each number of nodes."""
    for nodes in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="gpujob-messages-") as place:
            sys.stdout.write(json.dumps({"nodes": nodes, **count(Path(place), nodes)}) + "\n")
            sys.stdout.flush()
    return 0


def count(folder: Path, nodes: int) -> dict[str, float]:
    """Return how many messages start, a minute of running, and end take, and the bytes of one."""
    sent: Counter[str] = Counter()
    phase = "start"
    send = channel.Channel.send

    def counted(own: channel.Channel, **message: object) -> None:
        text = json.dumps(message)
        sent[phase] += 1
        sent["bytes"] += 64 + 1 + len(text) + 1  # the code, a space, the message, the end of the line
        send(own, **message)

    channel.Channel.send = counted  # type: ignore[method-assign]
    parts = meet(folder, nodes)
    phase = "minute"
    time.sleep(RUN_S)
    phase = "end"
    for part in parts[::-1]:
        part.report(Ending(0))
    while not all(part.verdict for part in parts):
        time.sleep(0.01)
    for part in parts:
        part.stop()
        part.close()
    channel.Channel.send = send  # type: ignore[method-assign]
    messages = sum(sent[each] for each in ("start", "minute", "end"))
    return {
        **{each: sent[each] for each in ("start", "minute", "end")},
        "bytes each": round(sent["bytes"] / max(messages, 1)),
    }


def meet(folder: Path, nodes: int) -> list[Lead | Member]:
    """Return the parts of a job once all are ready and have been told to start."""
    addresses, names = [HOST] * nodes, [f"i-{rank}" for rank in range(nodes)]
    groups = [Group(rank, addresses, names, b"key", folder) for rank in range(nodes)]
    listening = listen(HOST)
    port = listening.getsockname()[1]
    lead = Lead(groups[0], listening)
    parts: list[Lead | Member] = [lead, *(Member(group, connect(HOST, port), called=False) for group in groups[1:])]
    for part in parts:
        part.start()
    beginning = [threading.Thread(target=part.begin, args=(io.BytesIO(), "2.7")) for part in parts]
    for thread in beginning:
        thread.start()
    for thread in beginning:
        thread.join()
    return parts


if __name__ == "__main__":
    sys.exit(main())
