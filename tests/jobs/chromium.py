"""A real browser without a window, told what to do by the Chrome DevTools Protocol."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

WORDS = [
    *(
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--hide-scrollbars",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
]
LIMIT_S = 120


class Page:
    """The only page of a browser."""

    def __init__(self, link: websocket.WebSocket) -> None:
        self.link, self.last, self.events = link, 0, list[dict[str, Any]]()

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """Return the answer to a method; what happens in between goes to `events`."""
        self.last += 1
        self.link.send(json.dumps({"id": self.last, "method": method, "params": words}))
        while (said := json.loads(self.link.recv())).get("id") != self.last:
            self.events.append(said)
        assert "error" not in said, said["error"]
        return said["result"]

    def evaluate(self, code: str) -> Any:
        """Return the value of an expression, once it is known."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait_for(self, condition: str) -> Any:
        """Return the value of an expression as soon as it is true."""
        deadline = time.monotonic() + LIMIT_S
        while not (value := self.evaluate(condition)):
            assert time.monotonic() < deadline, f"{condition} is still {value}"
            time.sleep(0.05)
        return value

    def wait_for_event(self, method: str) -> dict[str, Any]:
        """Return what the browser tells of an event, as soon as it has happened."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := [each for each in self.events if each.get("method") == method]):
            assert time.monotonic() < deadline, f"no {method}"
            self.evaluate("new Promise((resume) => setTimeout(resume, 50))")
        return found[-1]["params"]

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page another size; narrow ones are phones."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def darken(self, dark: bool) -> None:
        """Let the system prefer dark pages, or light ones."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        """Press a key: Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        words = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **words, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def photograph(self, path: Path) -> None:
        """Write a picture of the whole page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """Yield the page of a browser that ends with the block."""
    log = (profile.with_suffix(".log")).open("wb")
    process = subprocess.Popen(
        [*WORDS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log, start_new_session=True
    )
    try:
        with contextlib.closing(connect(profile / "DevToolsActivePort", process)) as link:
            page = Page(link)
            for domain in ("Page", "Runtime", "Network", "DOM"):
                page.call(f"{domain}.enable")
            yield page
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def connect(note: Path, process: "subprocess.Popen[bytes]") -> websocket.WebSocket:
    """Return a connection to the page of a browser, which writes its port into a file when it is ready."""
    deadline = time.monotonic() + LIMIT_S
    while not (note.is_file() and note.read_text().strip()):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser does not answer"
        time.sleep(0.05)
    port = note.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LIMIT_S) as answer:
        address = next(each["webSocketDebuggerUrl"] for each in json.load(answer) if each["type"] == "page")
    return websocket.create_connection(address, timeout=LIMIT_S, suppress_origin=True)
