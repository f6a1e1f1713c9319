"""What became of the tasks of an array."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from infra.model.job import MOST_NODES, UNFINISHED, ExitCode, JobState

Text = Annotated[str, re.compile(r"(?s).{0,1000}")]


@dataclass(frozen=True)
class TaskRecord:
    """What became of a task, as reported by the agent."""

    index: Annotated[int, range(10**9)]
    values: Mapping[str, Text]
    state: JobState
    exit_code: ExitCode | None
    reason: Text
    node: Annotated[int, range(MOST_NODES)] | None
    """The rank of the node that ran it last; None if it never started."""
    started_at: float | None
    seconds: float | None
    """Run time so far or in total; None if it never started."""
    attempts: int
    """How often it was started."""
    machine: str = ""
    """The instance id of that node; "" if it never started."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state not in UNFINISHED
