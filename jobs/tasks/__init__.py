"""Tasks: one class for each image, several labels, or a number; how each is learned and judged."""

from .choice import check_request, find_task, fit_task
from .single import SINGLE_LABEL
from .task import Task

__all__ = ["SINGLE_LABEL", "Task", "check_request", "find_task", "fit_task"]
