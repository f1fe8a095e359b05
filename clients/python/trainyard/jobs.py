"""Jobs: submit them from Batch AI's JSON, watch them, read their output while it grows, copy their files."""
from __future__ import annotations

import codecs
import os
import time
from typing import IO, Any, Iterator, Mapping

import grpc

from trainyard import commands, transfer, translation
from trainyard.connection import Connection, Patience, log, new_request_id
from trainyard.errors import JobFailed, TrainyardError
from trainyard.v1 import exec_pb2, exec_pb2_grpc, jobs_pb2, jobs_pb2_grpc

STREAM_LIMIT_S = 120.0  # a stream is opened anew now and then: one whose other end vanished would stay silent for ever


class Job:
    """A job by its name; it need not exist (any more). Every property and method asks the controller."""

    def __init__(self, connection: Connection, group: str, workspace: str, experiment: str, name: str) -> None:
        self._connection = connection
        self._stub = jobs_pb2_grpc.JobsStub(connection.channel)
        self._exec = exec_pb2_grpc.ExecStub(connection.channel)
        self.key = jobs_pb2.JobName(resource_group=group, workspace=workspace, experiment=experiment, name=name)

    @property
    def name(self) -> str:
        return self.key.name

    def show(self) -> jobs_pb2.Job:
        """The job as it is now: execution_state, phase, reason, attempt, nodes, execution_info ..."""
        job: jobs_pb2.Job = self._connection.call(self._stub.GetJob, self.key)
        return job

    @property
    def state(self) -> str:
        """queued | running | terminating | succeeded | failed"""
        return self.show().execution_state

    def watch(self) -> Iterator[jobs_pb2.Job]:
        """The job now and after each change, until it has ended. Goes on over restarts of the controller."""
        patience = Patience(self._connection)
        while True:
            try:
                for job in self._stub.WatchJob(self.key, timeout=STREAM_LIMIT_S):
                    patience.progress()
                    yield job
                    if ended(job):
                        return
            except grpc.RpcError as error:
                # Every stream begins with the job as it is: a repeated state, never a lost one.
                if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED and not patience.again(error):
                    raise self._connection.error_of(error) from None

    def wait(self, timeout: float | None = None, check: bool = False) -> jobs_pb2.Job:
        """Waits until the job has ended and returns it. TimeoutError after `timeout` seconds; with `check`, JobFailed when it
        has failed."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self.show()
            if ended(job):
                break
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"job {self.name} has not ended within {timeout:g} s: {job.execution_state}: {job.reason}")
            limit = STREAM_LIMIT_S if end is None else min(STREAM_LIMIT_S, max(0.01, end - time.monotonic()))
            self._wait_for_end(limit)
        if check and job.execution_state != "succeeded":
            raise JobFailed(job)
        return job

    def _wait_for_end(self, limit_s: float) -> None:
        """Returns when the job has ended, the time is over or the stream broke: whoever called looks again."""
        try:
            for job in self._stub.WatchJob(self.key, timeout=limit_s):
                if ended(job):
                    return
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                time.sleep(0.1)

    def stream(self, file: str = "stdout.txt", directory_id: str = "stdouterr", offset: int = 0) -> Iterator[str]:
        """The lines of a file of the job as it grows, without their ends, until the job has ended. Waits for the file to
        appear. Restarts of the controller or of agents lose and double nothing; when the job is run again, the new
        attempt's lines follow."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        for chunk in self.follow(file, directory_id, offset):
            rest += decoder.decode(chunk) if chunk is not None else decoder.decode(b"", True) + ("\n" if rest else "")
            *lines, rest = rest.split("\n")
            yield from lines
        rest += decoder.decode(b"", True)
        if rest:
            yield rest

    def follow(self, file: str = "stdout.txt", directory_id: str = "stdouterr", offset: int = 0) -> Iterator[bytes | None]:
        """As stream(), in pieces of bytes; None where a new attempt's file begins."""
        return _Follower(self._connection, self._stub, self.key, transfer.clean(file), directory_id, offset).pieces()

    def list_files(self, path: str = ".", directory_id: str = "stdouterr") -> list[jobs_pb2.FileEntry]:
        """What is in a directory of the job's output: name, is_directory, size, modified."""
        request = jobs_pb2.ListJobFilesRequest(job=self.key, output_directory_id=directory_id, path=transfer.clean(path))
        return list(self._connection.call(self._stub.ListJobFiles, request).files)

    def read(self, file: str, directory_id: str = "stdouterr", offset: int = 0) -> Iterator[bytes]:
        """A file's bytes as they are now, from `offset`."""
        request = jobs_pb2.ReadJobFileRequest(job=self.key, output_directory_id=directory_id, path=transfer.clean(file), offset=offset)
        return transfer.pieces(self._connection, self._stub.ReadJobFile, request)

    def download(self, path: str = ".", to: str = ".", directory_id: str = "stdouterr") -> list[str]:
        """Copies a file or a whole directory of the job's output to here; what is here already is not copied again, and a
        copy that was cut off goes on where it stopped. Returns the local paths."""
        return transfer.download(_JobFiles(self, directory_id), path, to)

    def nodes(self) -> list[exec_pb2.ExecNode]:
        """The nodes that it holds now, head first, and whether a command can be started there now."""
        return list(self._connection.call(self._exec.ListJobNodes, self.key).nodes)

    def exec(self, command: str, node: str = "", *, stdin: bytes = b"", stdout: IO[bytes] | None = None,
             stderr: IO[bytes] | None = None, timeout: float | None = None) -> commands.ExecResult:
        """Runs `command` (for bash) in the running job's environment on one of its nodes, the first unless `node` names one,
        and returns its exit code and output. It ends with the job, too. See commands.run() for the rest."""
        start = exec_pb2.ExecStart(job=self.key, node=node, command=command)
        return commands.run(self._connection, self._exec.ExecInJob, start, stdin, stdout, stderr, timeout)

    def terminate(self) -> jobs_pb2.Job:
        """Ends the job; wait() tells when nothing of it is left. Of a finished job: no change."""
        request = jobs_pb2.TerminateJobRequest(request_id=new_request_id(), job=self.key)
        job: jobs_pb2.Job = self._connection.call(self._stub.TerminateJob, request)
        return job

    def rerun(self, new_name: str = "") -> Job:
        """The same again, as a new job, of one that has ended: its name with the next free number, or `new_name`."""
        request = jobs_pb2.RerunJobRequest(request_id=new_request_id(), job=self.key, new_name=new_name)
        made: jobs_pb2.Job = self._connection.call(self._stub.RerunJob, request)
        return Job(self._connection, self.key.resource_group, self.key.workspace, self.key.experiment, made.name)

    def delete(self) -> None:
        """Ends the job if needed and removes it; its files stay."""
        self._connection.call(self._stub.DeleteJob, jobs_pb2.DeleteJobRequest(request_id=new_request_id(), job=self.key))

    def why(self) -> jobs_pb2.JobExplanation:
        """Why a queued job waits, what would let it start now, and when it starts."""
        explanation: jobs_pb2.JobExplanation = self._connection.call(self._stub.ExplainJob, self.key)
        return explanation

    def timeline(self) -> list[jobs_pb2.TimelineLine]:
        """What happened to the job, oldest first."""
        return list(self._connection.call(self._stub.GetJobTimeline, self.key).lines)

    def __repr__(self) -> str:
        return f"Job({self.key.resource_group}/{self.key.workspace}/{self.key.experiment}/{self.key.name})"


def ended(job: jobs_pb2.Job) -> bool:
    return job.execution_state in ("succeeded", "failed")


class Jobs:
    """All jobs of the controller."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = jobs_pb2_grpc.JobsStub(connection.channel)

    def translate(self, job: translation.Source, cluster: str = "", storage_account: str = "",
                  strict: bool | None = None) -> jobs_pb2.JobSpec:
        """Batch AI's JSON to the typed form, which may be changed before it is submitted. `job`: a dict
        ({"properties": {...}}) or a job.json's path. The controller does it, by the command line's own reader.

        What has no effect (an unknown key, a field of an older version of Batch AI) is refused by its name when `strict`,
        else logged as a warning. Without `strict`: a dict is a program's own and strict, a file is as for the command line."""
        return translation.job(self._connection, job, cluster, storage_account, strict)

    def submit(self, group: str, workspace: str, experiment: str, name: str,
               job: jobs_pb2.JobSpec | Mapping[str, Any] | str | os.PathLike[str], cluster: str = "", storage_account: str = "",
               strict: bool | None = None) -> Job:
        """Creates the job; it is on the controller's disk when this returns. `job`: a dict, a job.json's path, or a JobSpec;
        `cluster`: a name in the same workspace, "group/workspace/name" or an ARM id; `strict`: see translate()."""
        spec = job if isinstance(job, jobs_pb2.JobSpec) else self.translate(job, cluster, storage_account, strict)
        request = jobs_pb2.CreateJobRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, experiment=experiment,
                                            name=name, spec=spec)
        if cluster:
            request.spec.cluster = cluster
        created: jobs_pb2.Job = self._connection.call(self._stub.CreateJob, request)
        for warning in created.warnings:
            log.warning("job %s: %s", name, warning)
        return self.get(group, workspace, experiment, name)

    def get(self, group: str, workspace: str, experiment: str, name: str) -> Job:
        return Job(self._connection, group, workspace, experiment, name)

    def list(self, group: str, workspace: str, experiment: str) -> list[jobs_pb2.Job]:
        request = jobs_pb2.ListJobsRequest(resource_group=group, workspace=workspace, experiment=experiment)
        return [item for page in self._connection.pages(self._stub.ListJobs, request) for item in page.jobs]


class _JobFiles:
    """A job's output directory, for transfer.download."""

    def __init__(self, job: Job, directory_id: str) -> None:
        self._job, self._directory_id = job, directory_id

    def list(self, path: str) -> list[jobs_pb2.FileEntry]:
        return self._job.list_files(path, self._directory_id)

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        return self._job.read(path, self._directory_id, offset)


class _Follower:
    """Where a follower is: in which attempt's file (0: none has written yet), and at which byte of it."""

    def __init__(self, connection: Connection, stub: Any, key: jobs_pb2.JobName, path: str, directory_id: str, offset: int) -> None:
        self._connection, self._stub, self._key = connection, stub, key
        self._path, self._directory_id = path, directory_id
        self._first = self._offset = offset
        self._attempt = 0

    def pieces(self) -> Iterator[bytes | None]:
        patience = Patience(self._connection)
        while True:
            if self._find_attempt():
                yield None
            request = jobs_pb2.ReadJobFileRequest(job=self._key, output_directory_id=self._directory_id, path=self._path,
                                                  offset=self._offset, follow=True)
            try:
                for chunk in self._stub.ReadJobFile(request, timeout=STREAM_LIMIT_S):
                    if not chunk.data:
                        continue
                    patience.progress()
                    if chunk.offset == 0 and self._offset > 0:
                        self._offset = 0
                        yield None
                    if chunk.offset != self._offset:
                        raise TrainyardError(f"the controller sent byte {chunk.offset} where byte {self._offset} comes next", "DATA_LOSS")
                    self._offset += len(chunk.data)
                    yield chunk.data
                return
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED and not patience.again(error):
                    raise self._connection.error_of(error) from None

    def _find_attempt(self) -> bool:
        """After an interruption the job may have been queued again, and then the file of that name is another one. Its old
        output is moved away while the new attempt prepares, so wait until that is over. True: a new file begins."""
        while True:
            job: jobs_pb2.Job = self._connection.call(self._stub.GetJob, self._key)
            moving = job.attempt > 1 and job.phase in ("queued", "preparing")
            read_some = self._offset > self._first
            if read_some and self._attempt == 0:
                self._attempt = 1  # bytes came before any attempt was seen: the first one's
            if read_some and job.attempt > self._attempt and moving:
                time.sleep(0.2)
                continue
            again = read_some and job.attempt > self._attempt
            if again:
                self._offset = self._first = 0
            if not moving and job.attempt > self._attempt:
                self._attempt = job.attempt
            return again
