"""Supervise a job, and run its tasks if it is an array."""

from __future__ import annotations

from ..job import respawn, supervisor
from ..records import folder_of


def supervise(number: str, queued: str, *link: str) -> None:
    """Supervise a job from the queue to its end."""
    array = supervisor.supervise(number, queued, *link)
    if array:
        from .dispatch import make_work, run_array  # rarely needed, and it adds to the start-up of every job

        run_array(make_work(array.task, array.job, array.state), array.locks, array.task.tie)


def watch(number: str) -> None:
    """Watch a job in place of its killed supervisor; replace an array's killed dispatcher, too."""
    if respawn.watch(number):
        from .dispatch import lead_again  # rarely needed

        lead_again(folder_of(number))
