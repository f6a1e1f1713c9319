"""One job over several nodes: its parts meet, start, watch each other and end together.

See docs/design/nodes.md.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Union

from ..book.tasks import is_array
from .lead import Lead
from .member import Member, connect
from .tie import Group

AnyTie = Union[Lead, Member]


def join(folder: Path, part: dict[str, Any], key: str, link: tuple[str, ...]) -> AnyTie:
    """Return what ties a part to the others; raises AgentError.

    `link` is the descriptor on which part 0 listens, or over which part 0 has called this part.
    """
    served = part.get("served", False)
    group = Group(part["rank"], part["addresses"], part["names"], key.encode(), folder, is_array(folder), served)
    if not group.rank:
        return Lead(group, socket.socket(fileno=int(link[0])))
    if link:
        return Member(group, socket.socket(fileno=int(link[0])), called=True)
    return Member(group, connect(group.addresses[0], part["port"]), called=False)
