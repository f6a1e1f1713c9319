"""What moto lacks, by service and action; whatever is not in the table goes to moto unchanged."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local import console, images, launch, prices, quotas, spot
from infra.local.answers import Answer
from infra.local.hosts import Hosts
from infra.local.request import Request

Moto = Callable[[Request], Answer]
"""Hands a request, perhaps a changed one, to moto."""

TypesQuestion = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Gaps:
    """The answers that moto does not give, and the one that it gives too slowly."""

    hosts: Hosts
    _launches: launch.Launches = field(default_factory=launch.Launches)
    _types: dict[TypesQuestion, Answer] = field(default_factory=dict)
    _types_lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request, moto: Moto) -> Answer | None:
        """Answer a request; None when it is moto's to answer."""
        match request.service, request.action:
            case "pricing", "GetProducts":
                return prices.get_products(request)
            case "servicequotas", "GetServiceQuota":
                return quotas.get_service_quota(request)
            case "ssm", "GetParameter":
                return images.get_parameter(request)
            case "ssm", "GetParameters":
                return images.get_parameters(request, moto)
            case "ec2", "DescribeSpotPriceHistory":
                return spot.describe_spot_price_history(request)
            case "ec2", "GetConsoleOutput":
                return console.get_console_output(request, self.hosts.host_key(request.params.get("InstanceId", "")))
            case "ec2", "StartInstances":
                self.hosts.settle(request.values("InstanceId"))
            case "ec2", "RunInstances":
                return self._launches.run(request, moto)
            case "ec2", "DescribeInstanceTypes":
                return self._instance_types(request, moto)
        return None

    def _instance_types(self, request: Request, moto: Moto) -> Answer:
        # The catalogue never changes while the process lives, and writing it out takes moto seconds.
        question = (request.region, frozenset(request.params.items()))
        with self._types_lock:
            if question not in self._types:
                answer = moto(request)
                if answer.status != 200:
                    return answer
                self._types[question] = answer
            return self._types[question]
