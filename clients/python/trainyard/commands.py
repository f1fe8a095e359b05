"""Commands on nodes, through their agents: no ssh. A command lives exactly as long as its call: when the call ends, however it
ends, everything it started is killed."""
from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any, Callable, Iterator

import grpc

from trainyard.connection import Connection
from trainyard.errors import TrainyardError
from trainyard.v1 import exec_pb2

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class ExecResult:
    """What became of a command. `stdout` and `stderr` are empty where they were written to files."""

    node: str
    exit_code: int  # 128 + n: ended by signal n
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


def run(connection: Connection, method: Callable[..., Any], start: exec_pb2.ExecStart, stdin: bytes, stdout: IO[bytes] | None,
        stderr: IO[bytes] | None, timeout: float | None) -> ExecResult:
    """`stdin`: what the command reads. `stdout`, `stderr`: where its output goes as it comes; None: into the result. After
    `timeout` seconds it is killed, and TimeoutError is raised."""
    def requests() -> Iterator[exec_pb2.ExecRequest]:
        yield exec_pb2.ExecRequest(start=start)
        for at in range(0, len(stdin), CHUNK_BYTES):
            yield exec_pb2.ExecRequest(data=stdin[at:at + CHUNK_BYTES])
        yield exec_pb2.ExecRequest(finish=True)

    collected = {"out": bytearray(), "err": bytearray()}
    files = {"out": stdout, "err": stderr}
    node, exit_code = "", None
    call = method(requests(), timeout=timeout)
    try:
        for reply in call:
            part = reply.WhichOneof("part")
            if part == "started":
                node = reply.started.node_id
            elif part == "end":
                exit_code = reply.end.exit_code
            elif part in ("out", "err"):
                data, file = getattr(reply, part), files[part]
                if file is None:
                    collected[part] += data
                else:
                    file.write(data)
    except grpc.RpcError as error:
        if timeout is not None and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutError(f"the command has not ended within {timeout:g} s, and was killed") from None
        raise connection.error_of(error) from None
    finally:
        call.cancel()  # also when the caller's file does not take the output: nothing runs on
    if exit_code is None:
        raise TrainyardError("the command's end was not told", "DATA_LOSS")
    return ExecResult(node, exit_code, bytes(collected["out"]), bytes(collected["err"]))
