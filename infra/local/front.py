"""The door of the local cloud: who may ask, what is answered here, and what goes on to moto."""

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs, urlencode

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import run_wsgi_app

from infra.local import cloudstate, record, request
from infra.local.answers import Answer, error, text_answer
from infra.local.gaps import Gaps
from infra.local.request import Environ, Request

StartResponse = Callable[..., Any]


class Front:
    """A WSGI application in front of moto's."""

    def __init__(self, access_key: str, gaps: Gaps) -> None:
        self._access_key = access_key
        self._gaps = gaps
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._active = 0
        self._closed = False
        self._last_s = time.monotonic()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        with self._lock:
            closed = self._closed
            self._active += 1
        try:
            if closed:
                return _send(text_answer("closing", 503), start_response)
            return self._answer(environ, start_response)
        finally:
            with self._lock:
                self._active -= 1
                self._last_s = time.monotonic()

    def close_if_idle(self, timeout_s: float) -> bool:
        """Close the door when nobody came for so long; whoever comes after that is sent away."""
        with self._lock:
            idle_s = time.monotonic() - self._last_s
            self._closed = self._closed or (not self._active and idle_s >= timeout_s)
            return self._closed

    def close(self) -> None:
        """Close the door now."""
        with self._lock:
            self._closed = True

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/gpujob/ping":
            nonce = parse_qs(environ.get("QUERY_STRING", "")).get("nonce", [""])[0]
            return _send(text_answer(record.proof(self._access_key, nonce)), start_response)
        if path == "/gpujob/checkip":
            return _send(text_answer(f"{environ['REMOTE_ADDR']}\n"), start_response)
        asked = request.read(environ)
        if asked is None or not hmac.compare_digest(asked.access_key, self._access_key):
            service = asked.service if asked else ""
            message = "AWS was not able to validate the provided access credentials"
            return _send(error(service, "AuthFailure", message, 403), start_response)
        answer = self._gaps.answer(asked, lambda changed: self._ask_moto(environ, changed))
        if answer is not None:
            return _send(answer, start_response)
        with cloudstate.LOCK:
            body, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        start_response(status, list(headers))
        return body

    def _ask_moto(self, environ: Environ, asked: Request) -> Answer:
        content = json.dumps(asked.body) if asked.body else urlencode(asked.params)
        changed = request.with_body(environ, content.encode())
        slow = asked.action == "DescribeInstanceTypes"  # it reads what nobody changes
        with nullcontext() if slow else cloudstate.LOCK:
            body, status, headers = run_wsgi_app(self._moto, changed, buffered=True)
        return Answer(int(status.split()[0]), headers.get("Content-Type", "text/xml"), b"".join(body))


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{answer.status} {'OK' if answer.status < 400 else 'Refused'}", headers)
    return [answer.body]
