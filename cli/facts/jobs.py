"""A job and its receipt as --json prints them; a receipt may come from someone else's project."""

from collections.abc import Mapping
from typing import Any

from cli.facts.times import instant, with_instants

TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
PREEMPTED = ("failed", "interrupted")
"""The states of a job that did not finish, which is then said to be preempted if AWS reclaimed its machine."""


def job_facts(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job with its state as shown, and its times."""
    facts = with_instants(job, *TIMES)
    if facts.get("preempted") and facts.get("state") in PREEMPTED:
        facts["state"] = "preempted"
    return facts


def receipt_facts(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt with its times, and its price per hour."""
    facts = {**receipt, "job": job_facts(receipt["job"])}
    if isinstance(facts.get("states"), list | tuple):
        facts["states"] = [name_state(each) for each in facts["states"]]
    if isinstance(facts.get("tasks"), list | tuple):
        facts["tasks"] = [with_instants(task, "started_at") for task in facts["tasks"]]
    if facts.get("gpu") == "none":
        facts["gpu"] = None
    if "price_usd" in facts:
        facts["usd_per_hour"] = facts.pop("price_usd")
    return facts


def name_state(pair: Any) -> Any:
    """Return a state and the time at which it began."""
    if isinstance(pair, list | tuple) and len(pair) == 2:
        return {"state": pair[0], "at": instant(pair[1])}
    return pair


def flat_facts(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt with the fields of its job in one level, as in a list of jobs."""
    facts = receipt_facts(receipt)
    facts.pop("tasks", None)  # a thousand, while those of the job are counted
    return {**facts.pop("job"), **facts}
