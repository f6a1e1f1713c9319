"""The entrance of the local cloud: check credentials, answer locally, or pass requests on to moto."""

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import create_environ, run_wsgi_app

from infra.local import record
from infra.local.cloud import moto_state, request
from infra.local.cloud.answers import Answer, error, text_answer
from infra.local.cloud.faults import parse
from infra.local.cloud.iam import permissions, storage
from infra.local.cloud.iam.callers import Caller
from infra.local.cloud.iam.calls import Calls, refuse_expired
from infra.local.cloud.iam.roles import is_proven
from infra.local.cloud.machines import metadata
from infra.local.cloud.request import Environ, Request
from infra.local.cloud.scaling.groups import GROUPS
from infra.local.cloud.server import control
from infra.local.cloud.server.handlers import Handlers

StartResponse = Callable[..., Any]


class Gateway:
    """A WSGI application in front of moto's."""

    def __init__(self, access_key: str, handlers: Handlers) -> None:
        self._access_key = access_key
        self._handlers = handlers
        self._calls = Calls(handlers.faults, handlers.callers)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._groups = handlers.make_reconciler(self._ask_alone)
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
        """Close after this long without a request; later requests are rejected."""
        with self._lock:
            idle_s = time.monotonic() - self._last_s
            self._closed = self._closed or (not self._active and idle_s >= timeout_s)
            return self._closed

    def keep_groups(self) -> bool:
        """Let the Auto Scaling groups take a step; return whether there are any."""
        self._groups.reconcile()
        return bool(GROUPS)

    def close(self) -> None:
        """Close now."""
        with self._lock:
            self._closed = True

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/gpujob/ping":
            nonce = parse_qs(environ.get("QUERY_STRING", "")).get("nonce", [""])[0]
            return _send(text_answer(record.proof(self._access_key, nonce)), start_response)
        if path == "/gpujob/checkip":
            return _send(text_answer(f"{environ['REMOTE_ADDR']}\n"), start_response)
        if path.startswith(metadata.PREFIX):
            return _send(self._handlers.metadata.answer(environ), start_response)
        if path in (control.FAULTS, control.TRAIL, control.CALLER):
            return _send(self._control(path, environ), start_response)
        asked = request.read(environ)
        if asked and asked.service == "s3":
            action, (arn, *more) = storage.name_action(environ)
            others = {f"Arn.{number}": one for number, one in enumerate(more, 2)}
            others |= {f"{permissions.ALSO}{name}": one for name, one in storage.name_more(environ).items()}
            asked = replace(asked, action=action, params={"Arn": arn, **others})
        expired = self._find_expired(asked, environ) if asked else None
        if expired:
            return _send(expired, start_response)
        if asked is None or not self._is_known(asked, environ):
            service = asked.service if asked else ""
            message = "AWS was not able to validate the provided access credentials"
            return _send(error(service, "AuthFailure", message, 403), start_response)
        due = self._calls.count(environ, asked.action)
        if self._calls.kill(due, "before"):
            return _send(text_answer("the caller is dead", 503), start_response)
        answer = (
            self._calls.refuse(asked)
            or (storage.check_body(environ) if asked.service == "s3" else None)
            or self._handlers.answer(asked, lambda changed: self._ask_moto(environ, changed))
        )
        if answer is not None:
            sent = _send(answer, start_response)
        else:
            with moto_state.LOCK, self._handlers.sight(asked):
                body, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
            start_response(status, list(headers))
            sent = list(body)
        self._calls.kill(due, "after")
        return sent

    def _is_known(self, asked: Request, environ: Environ) -> bool:
        """Return whether a request is signed with this start's key, or a machine's key and token."""
        session = self._handlers.roles.find(asked.access_key)
        if session:
            return is_proven(session, environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""))
        return hmac.compare_digest(asked.access_key, self._access_key)

    def _find_expired(self, asked: Request, environ: Environ) -> Answer | None:
        """Return AWS's refusal of a machine's credentials that have expired."""
        session = self._handlers.roles.find(asked.access_key)
        if session is None or time.time() < session.expires_at or not self._is_known(asked, environ):
            return None
        return refuse_expired(asked.service)

    def _control(self, path: str, environ: Environ) -> Answer:
        """Answer requests beyond AWS's: faults and the record of calls."""
        if not hmac.compare_digest(environ.get("HTTP_X_GPUJOB_KEY", ""), self._access_key):
            return Answer(403, "application/json", b'"another key"')
        faults, trail = self._handlers.faults, self._handlers.trail
        method = environ["REQUEST_METHOD"]
        if path == control.TRAIL:
            if method == "DELETE":
                trail.clear()
            return _json(200, trail.listing())
        if path == control.CALLER:
            asked = json.loads(request.read_body(environ))
            self._handlers.callers.caller = Caller(**asked) if asked else None
            return _json(200, [])
        if method == "DELETE":
            faults.clear()
            self._calls.clear()
        elif method == "POST":
            try:
                for fault in [parse(str(text)) for text in json.loads(request.read_body(environ))]:
                    faults.add(fault)
            except ValueError as wrong:
                return _json(400, str(wrong))
        return _json(200, faults.listing())

    def _ask_alone(self, asked: Request) -> Answer:
        """Ask moto for the cloud itself; moto learns service and region from the signature."""
        signed = f"AWS4-HMAC-SHA256 Credential={self._access_key}/20260101/{asked.region}/{asked.service}/aws4_request"
        kind = "application/x-www-form-urlencoded"
        environ = create_environ("/", method="POST", content_type=kind, headers={"Authorization": signed})
        return self._ask_moto(environ, asked)

    def _ask_moto(self, environ: Environ, asked: Request) -> Answer:
        content = json.dumps(asked.body) if asked.body else urlencode(asked.params)
        changed = request.with_body(environ, content.encode())
        with moto_state.LOCK:  # reading needs the lock too: moto's serializers share mutable state
            body, status, headers = run_wsgi_app(self._moto, changed, buffered=True)
        return Answer(int(status.split()[0]), headers.get("Content-Type", "text/xml"), b"".join(body))


def _json(status: int, content: object) -> Answer:
    return Answer(status, "application/json", json.dumps(content).encode())


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{answer.status} {'OK' if answer.status < 400 else 'Refused'}", headers)
    return [answer.body]
