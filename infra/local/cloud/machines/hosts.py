"""The hosts of the local cloud: one per running instance, started and ended with it."""

import contextlib
import json
import math
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import reaper, record
from infra.local.cloud import forgetting, moto_state, networks
from infra.local.cloud.boots import Boots, spawn
from infra.local.cloud.machines import images, imaging, metadata
from infra.node.agent import trees

POLL_S = 0.1
GRACE_S = 5.0
SOURCES = "sources"
"""In a host's folder: the networks that may reach its SSH server, one a line."""
ROUTES = "routes"
"""Next to the hosts' folders: where private addresses lead."""
FLAWS = ("unarmed", "unarmable", "unfinished")
"""The faults of a machine's system."""


@dataclass
class Host:
    """A machine's process and its state."""

    instance: Any
    process: subprocess.Popen[bytes]
    ending_since_s: float | None = None
    report: str | None = None
    """How it ended: off or reboot."""
    dead: bool = False
    """It crashed: the instance stays running but unreachable until it is terminated."""
    frozen: bool = False


@dataclass(frozen=True)
class _Event:
    host: Host
    content: dict[str, Any] | None
    """None once the process has exited."""


class Hosts:
    """Keep one host for each running instance, in a single thread."""

    def __init__(self, folder: Path, lock: int, boots: Boots) -> None:
        self.boots = boots
        self.url = ""
        """The cloud's address."""
        self._folder = folder / record.HOSTS
        self._lock = lock
        self._hosts: dict[str, Host] = {}
        self._host_keys: dict[str, str] = {}
        self._cleared: dict[str, float] = {}
        self._sources: dict[str, list[str]] = {}
        self._ports: dict[str, int] = {}
        self._routes = ""
        self._imaging: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self._events: queue.Queue[_Event] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hosts")
        self.seen = False
        """Whether there has ever been an instance."""
        self.alive = False
        """Whether an instance or a host is left."""
        self.failed = False

    def open(self) -> None:
        """Start the thread."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """End all hosts and everything in them, and delete their folders."""
        self._closing.set()
        self._thread.join()
        trees.remove(self._folder)

    def host_key(self, instance_id: str) -> str | None:
        """Return the public host key of an instance's host; None until it is up."""
        return self._host_keys.get(instance_id)

    def is_dead(self, instance_id: str) -> bool:
        """Return whether the host of an instance has crashed."""
        host = self._hosts.get(instance_id)
        return host is not None and host.dead

    def settle(self, instance_ids: list[str]) -> None:
        """Wait until stopped instances have no host left, so that a start begins cleanly."""
        deadline = time.monotonic() + 2 * GRACE_S
        found = [self._hosts.get(one) for one in instance_ids]
        for host in filter(None, found):
            while self._hosts.get(host.instance.id) is host and host.instance.state != "running":
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)

    def image(self, instance_id: str, image_id: str) -> None:
        """Save the home folder of an instance's host for an image; the host reboots for it, as on AWS."""
        self._imaging[instance_id] = image_id

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._handle_events()
                self._reconcile()
        except Exception:
            self.failed = True
            raise
        finally:
            self._end_all()

    def _handle_events(self) -> None:
        try:
            self._handle(self._events.get(timeout=POLL_S))
            while True:
                self._handle(self._events.get_nowait())
        except queue.Empty:
            return

    def _reconcile(self) -> None:
        with moto_state.LOCK:
            instances = list(moto_state.instances())
        for instance in instances:
            host, ready = self._hosts.get(instance.id), self.boots.advance(instance)
            if instance.id in self._imaging and host is None:
                image_id = self._imaging.pop(instance.id)
                imaging.keep_home(instance, self._folder, image_id)
                self._images[image_id] = instance.region_name
            elif instance.id in self._imaging and host is not None:
                self._end(host)
            elif ready and host is None:
                self._start(instance)
            elif ready and host is not None:
                self._note_sources(instance)
            elif instance.state != "running" and host is not None:
                self._end(host)
            elif instance.state == "terminated" and instance.id not in self._cleared:
                self._clear(instance)
            elif self._cleared.get(instance.id, math.inf) < time.monotonic() - forgetting.KEPT_S:
                self._forget(instance)
        self._note_routes(instances)
        self._freeze()
        self._remove_images(instances)
        self.seen = self.seen or bool(instances)
        living = any(instance.state != "terminated" for instance in instances)
        self.alive = bool(self._hosts) or living or moto_state.has_own_images()

    def _freeze(self) -> None:
        for host in self._hosts.values():
            frozen = self.boots.is_frozen(host.instance)
            if frozen != host.frozen:
                host.frozen = frozen
                (reaper.freeze if frozen else reaper.thaw)(host.process.pid)

    def _remove_images(self, instances: list[Any]) -> None:
        """Remove the homes of deregistered images that no instance boots from any more."""
        booting = {one.image_id for one in instances if one.id not in self._hosts and one.state != "terminated"}
        for image_id, region in list(self._images.items()):
            if image_id not in booting and moto_state.find_image(region, image_id) is None:
                trees.remove(self._folder / image_id)
                del self._images[image_id]

    def _start(self, instance: Any) -> None:
        folder = self._folder / instance.id
        folder.mkdir(mode=0o700, exist_ok=True)
        imaging.lay_out_home(self._folder / instance.image_id, folder)
        config = {
            "instance_id": instance.id,
            "authorized_key": moto_state.public_key(instance),
            "user": images.login_user(instance.region_name, instance.image_id),
            "public": networks.has_public_address(instance),
            "private_ip": instance.private_ip,
            "vpc": networks.vpc_of(instance),
            "user_data": str(instance.user_data or ""),
            "metadata_url": f"{self.url}{metadata.PREFIX}{instance.id}/",
            "flaws": [one for one in FLAWS if self.boots.faults.value(one) is not None],
            "mute": self.boots.faults.value("mute") is not None,
            "drop_bytes": self.boots.faults.number("drop"),
        }
        self._note_sources(instance)
        path = folder / "host.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        process = spawn(path, self._lock)
        host = self._hosts[instance.id] = Host(instance, process)
        threading.Thread(target=self._listen, args=(host,), daemon=True).start()

    def _note_sources(self, instance: Any) -> None:
        """Tell a host which networks its security groups let in, if that has changed."""
        found = networks.find_sources(instance) if networks.is_public(instance) else []
        if self._sources.get(instance.id) != found:
            self._sources[instance.id] = found
            path = self._folder / instance.id / SOURCES
            path.with_suffix(".new").write_text("\n".join(found))
            path.with_suffix(".new").replace(path)

    def _announce(self, instance: Any, port: int) -> None:
        """Say where a machine answers: on this computer if the internet or a VPN leads there."""
        reached = networks.has_public_address(instance) or self.boots.faults.value("vpn") is not None
        moto_state.set_endpoint(instance, f"127.0.0.1:{port}" if reached else f"{instance.private_ip}:{networks.SSH}")

    def _note_routes(self, instances: list[Any]) -> None:
        """Tell the hosts, any of which may be a jump host, where private addresses lead, if that has changed."""
        found = {
            one.private_ip: {
                "port": self._ports[one.id],
                "vpc": networks.vpc_of(one),
                "sources": networks.find_sources(one),
            }
            for one in instances
            if one.id in self._hosts and one.id in self._ports and not networks.has_public_address(one)
        }
        text = json.dumps(found)
        if text != self._routes:
            self._routes = text
            path = self._folder / ROUTES
            path.with_suffix(".new").write_text(text)
            path.with_suffix(".new").replace(path)

    def _listen(self, host: Host) -> None:
        assert host.process.stdout is not None  # noqa: S101
        for line in host.process.stdout:
            with contextlib.suppress(ValueError):  # a killed host may leave half a line
                self._events.put(_Event(host, json.loads(line)))
        host.process.wait()
        self._events.put(_Event(host, None))

    def _handle(self, event: _Event) -> None:
        host, content = event.host, event.content
        if content is None:
            self._handle_exit(host)
        elif content["event"] == "ready":
            self._host_keys[host.instance.id] = content["host_key"]
            self._ports[host.instance.id] = content["port"]
            if host.instance.state == "running":
                self._announce(host.instance, content["port"])
        else:
            host.report = content["event"]

    def _handle_exit(self, host: Host) -> None:
        reaper.kill_descendants(spare={other.process.pid for other in self._hosts.values()})
        moto_state.set_endpoint(host.instance, None)
        _close_pipes(host.process)
        if host.report == "off":
            moto_state.shut_down(host.instance)
        elif host.report is None and host.ending_since_s is None:
            host.dead = True  # it stays registered, so that it is not replaced
            return
        del self._hosts[host.instance.id]

    def _end(self, host: Host) -> None:
        if host.dead:
            del self._hosts[host.instance.id]
        elif host.ending_since_s is None:
            host.ending_since_s = time.monotonic()
            host.process.terminate()
        elif time.monotonic() - host.ending_since_s > GRACE_S:
            host.process.kill()

    def _clear(self, instance: Any) -> None:
        self._cleared[instance.id] = time.monotonic()
        moto_state.remove_leftovers(instance)
        trees.remove(self._folder / instance.id)

    def _forget(self, instance: Any) -> None:
        forgetting.forget(instance)
        for known in (self._cleared, self._host_keys, self._sources, self._ports):
            known.pop(instance.id, None)

    def _end_all(self) -> None:
        for host in self._hosts.values():
            host.process.send_signal(signal.SIGINT)  # no shutdown of its system: nothing is to be saved any more
        deadline = time.monotonic() + GRACE_S
        for host in self._hosts.values():
            try:
                host.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                host.process.kill()
        reaper.kill_everything()


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
