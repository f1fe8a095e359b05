"""Trainyard: run distributed training jobs on your own machines.

    import trainyard
    with trainyard.connect() as ty:                      # TRAINYARD_CONTROLLER, or 127.0.0.1:7470
        job = ty.jobs.submit("mygroup", "batchaidev", "cifar", "cifar_1", "job.json", cluster="nc6cluster")
        for line in job.stream("stdout.txt"):
            print(line)
        job.wait(check=True)
        job.download(".", to="results")

The messages and stubs of the whole API are in trainyard.v1.
"""
from __future__ import annotations

from types import TracebackType

from trainyard.clusters import Clusters
from trainyard.commands import ExecResult
from trainyard.connection import DEFAULT_CONTROLLER, Connection, Endpoint
from trainyard.errors import JobFailed, NotFound, TrainyardError, Unreachable
from trainyard.jobs import Job, Jobs
from trainyard.resources import Experiments, FileServers, Groups, Nodes, Usages, Workspaces
from trainyard.settings import Defaults, defaults
from trainyard.storage import Storage

__all__ = ["Client", "Connection", "Defaults", "Endpoint", "ExecResult", "Job", "JobFailed", "NotFound", "TrainyardError", "Unreachable", "connect",
           "defaults"]


class Client:
    """A connection to a controller and all that can be done with it. Thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.connection = Connection(endpoint)
        self.groups = Groups(self.connection)
        self.workspaces = Workspaces(self.connection)
        self.experiments = Experiments(self.connection)
        self.clusters = Clusters(self.connection)
        self.jobs = Jobs(self.connection)
        self.storage = Storage(self.connection)
        self.file_servers = FileServers(self.connection)
        self.nodes = Nodes(self.connection)
        self.usages = Usages(self.connection)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def connect(controller: str | None = None, *, ca: str | None = None, certificate: str | None = None, key: str | None = None,
            retry_for: float = 20.0) -> Client:
    """Connects to the controller at "host:port", with the operator's CA and your certificate and key (files) where it uses
    TLS. What is not given comes from TRAINYARD_CONTROLLER, TRAINYARD_CA, TRAINYARD_CERT and TRAINYARD_KEY, then from what
    `trainyard configure` keeps, as for the command line. `retry_for`: seconds to go on when the controller is away.

    defaults() has the group, workspace and experiment that the user keeps."""
    kept = defaults()
    return Client(Endpoint(controller or kept.controller or DEFAULT_CONTROLLER, ca or kept.ca, certificate or kept.cert, key or kept.key, retry_for))
