"""RunInstances that honours its client token: one token, one launch, however often it is asked for."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from infra.local.answers import EC2_NAMESPACE, Answer, error
from infra.local.request import Request

Token = tuple[str, str]
"""Region and client token."""

_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")


@dataclass(frozen=True)
class _Launch:
    params: dict[str, str]
    instance_ids: tuple[str, ...]


@dataclass(frozen=True)
class Launches:
    """What was launched under which token."""

    _done: dict[Token, _Launch] = field(default_factory=dict)
    _locks: dict[Token, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    _locks_lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, request: Request, moto: Callable[[Request], Answer]) -> Answer | None:
        """Launch, or tell of the instances that this token launched before; None without a token."""
        name = request.params.get("ClientToken", "")
        if not name:
            return None
        token = (request.region, name)
        with self._locks_lock:
            lock = self._locks[token]
        with lock:
            done = self._done.get(token)
            if done is None:
                return self._first(token, request, moto)
        if done.params != request.params:
            message = (
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            )
            return error("ec2", "IdempotentParameterMismatch", message)
        return _again(done, request, moto)

    def _first(self, token: Token, request: Request, moto: Callable[[Request], Answer]) -> Answer:
        answer = moto(request)
        ids = tuple(found.decode() for found in _ID.findall(answer.body))
        if answer.status == 200 and ids:
            self._done[token] = _Launch(request.params, ids)
        return answer


def _again(launch: _Launch, request: Request, moto: Callable[[Request], Answer]) -> Answer:
    """Turn what DescribeInstances says of the launched instances into RunInstances' answer."""
    ids = {f"InstanceId.{n}": one for n, one in enumerate(launch.instance_ids, 1)}
    params = {"Action": "DescribeInstances", "Version": request.params.get("Version", "2016-11-15"), **ids}
    answer = moto(replace(request, action="DescribeInstances", params=params))
    if answer.status != 200:
        return answer
    ElementTree.register_namespace("", EC2_NAMESPACE)
    described = ElementTree.fromstring(answer.body)  # noqa: S314 - moto's own
    space = {"e": described.tag[1:].partition("}")[0]} if described.tag.startswith("{") else {"e": ""}
    reservation = described.find("e:reservationSet/e:item", space)
    result = ElementTree.Element(described.tag.replace("DescribeInstances", "RunInstances"))
    result.extend(list(reservation) if reservation is not None else [])
    return Answer(200, answer.content_type, ElementTree.tostring(result))
