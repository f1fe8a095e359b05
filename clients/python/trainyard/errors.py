"""What goes wrong, as exceptions. All of them are TrainyardError; `code` is gRPC's name of the kind, e.g. "NOT_FOUND"."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainyard.v1 import jobs_pb2


class TrainyardError(Exception):
    """The controller refused a request, or it failed. The text names the field or the thing and says what to do."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


class NotFound(TrainyardError):
    """What was named does not exist."""


class Unreachable(TrainyardError):
    """The controller did not answer for as long as `retry_for` says."""


class JobFailed(TrainyardError):
    """A job that was waited for has failed. `job` is its last state, `exit_code` its own exit code (None: it has none)."""

    def __init__(self, job: jobs_pb2.Job) -> None:
        info = job.execution_info
        why = "; ".join(f"{error.code}: {error.message}" for error in info.errors) or job.reason
        self.job = job
        self.exit_code: int | None = info.exit_code if info.HasField("exit_code") else None
        ended = "failed" if self.exit_code is None else f"failed with exit code {self.exit_code}"
        super().__init__(f"job {job.name} {ended}{': ' + why if why else ''}", "FAILED_PRECONDITION")
