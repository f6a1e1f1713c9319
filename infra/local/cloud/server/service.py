"""The local cloud's process: moto, the actions missing from it, and a host per running instance."""

import fcntl
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from infra.ec2.storage.policies import make_machine_policy, make_trust
from infra.local import reaper, record
from infra.local.cloud import moto_state
from infra.local.cloud.boots import Boots
from infra.local.cloud.faults import Faults
from infra.local.cloud.iam import storage
from infra.local.cloud.iam.roles import make_role
from infra.local.cloud.machines.hosts import Hosts
from infra.local.cloud.server.gateway import Gateway
from infra.local.cloud.server.handlers import Handlers
from infra.local.record import LocalCloud
from infra.names import MACHINES
from infra.node.agent import trees

IDLE_AFTER_LAST_S = 5.0
"""Without a request, after the last instance has ended."""
IDLE_BEFORE_FIRST_S = 120.0
POLL_S = 0.1


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log errors only."""


def main(folder: Path) -> None:
    """Run the local cloud of a folder until it is no longer needed."""
    lock = os.open(folder / record.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # a previous one may still be shutting down
    os.ftruncate(lock, 0)
    trees.remove(folder / record.HOSTS)
    reaper.become_subreaper()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    stopping = threading.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: stopping.set())
    faults = Faults()
    make_role(MACHINES, make_trust(), make_machine_policy())  # on AWS, an administrator has made it
    hosts = Hosts(folder, lock, Boots(faults))
    access_key = f"GPUJOBLOCAL{secrets.token_hex(16).upper()}"
    gateway = Gateway(access_key, Handlers(hosts, faults))
    server = make_server("127.0.0.1", 0, gateway, threaded=True, request_handler=_Quiet)
    try:
        _serve(folder, access_key, server, hosts, gateway, stopping)
    finally:
        gateway.close()
        hosts.close()
        (folder / record.RECORD).unlink(missing_ok=True)


def _serve(
    folder: Path, access_key: str, server: BaseWSGIServer, hosts: Hosts, gateway: Gateway, stopping: threading.Event
) -> None:
    url = hosts.url = f"http://127.0.0.1:{server.server_port}"
    hosts.open()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True).start()
    record.write(folder, LocalCloud(url=url, access_key=access_key, pid=os.getpid()))
    threading.Thread(target=moto_state.backend, args=("us-east-1",), daemon=True).start()
    while not stopping.wait(POLL_S) and not hosts.failed:
        kept = gateway.keep_groups() or hosts.alive or storage.has_objects()
        if not kept and gateway.close_if_idle(IDLE_AFTER_LAST_S if hosts.seen else IDLE_BEFORE_FIRST_S):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
