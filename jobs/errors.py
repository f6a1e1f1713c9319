"""User errors: the programs print one line and exit with status 1.

JobsError
├── DataError         the images or labels cannot be used
├── CheckpointError   a checkpoint or weights file cannot be written, or is refused
└── TrainingError     training cannot continue
"""


class JobsError(Exception):
    """What happened, and what to change."""


class DataError(JobsError):
    """The data set cannot be used; the message names the file or column."""


class CheckpointError(JobsError):
    """A checkpoint or weights file cannot be written or is invalid."""


class TrainingError(JobsError):
    """Training cannot continue; the message says what to change."""
