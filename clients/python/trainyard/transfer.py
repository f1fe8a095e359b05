"""Copies files and whole directories from the controller to here. A copy that was cut off goes on where it stopped: what
came so far lies beside the destination in a hidden file whose name says of which version (size and time) it is."""
from __future__ import annotations

import fcntl
import glob
import os
from typing import Any, Callable, Iterable, Iterator, Protocol

import grpc

from trainyard.connection import Connection, Patience
from trainyard.errors import NotFound, TrainyardError
from trainyard.v1 import jobs_pb2


class Source(Protocol):
    """A tree of files: a job's output directory, or a share."""

    def list(self, path: str) -> list[jobs_pb2.FileEntry]: ...
    def read(self, path: str, offset: int) -> Iterator[bytes]: ...


def pieces(connection: Connection, read: Callable[[Any], Iterable[jobs_pb2.FileChunk]], request: Any) -> Iterator[bytes]:
    """A file's bytes by the RPC `read`, from `request.offset`; goes on where it was when controller or node come back."""
    patience = Patience(connection)
    while True:
        try:
            for chunk in read(request):
                patience.progress()
                request.offset = chunk.offset + len(chunk.data)
                yield chunk.data
            return
        except grpc.RpcError as error:
            if not patience.again(error):
                raise connection.error_of(error) from None


def clean(path: str) -> str:
    """"./a//b/" -> "a/b"; "." -> ""."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def download(source: Source, path: str, to: str) -> list[str]:
    """Copies the file or directory `path`. A directory's content goes into `to`; a file goes to `to`, or into it when that
    is a directory. Returns the local paths, also of files that were here already."""
    path = clean(path)
    entry = None if path == "" else find(source, path)
    if entry is not None and not entry.is_directory:
        into = os.path.isdir(to) or to.endswith("/")
        return [_download_file(source, path, entry, os.path.join(to, entry.name) if into else to)]
    return _download_directory(source, path, to)


def find(source: Source, path: str) -> jobs_pb2.FileEntry:
    """The entry of `path` in its directory."""
    folder, _, name = path.rpartition("/")
    for entry in source.list(folder):
        if entry.name == name:
            return entry
    raise NotFound(f"{path} does not exist: list {folder or 'its directory'} to see what does", "NOT_FOUND")


def _download_directory(source: Source, path: str, to: str) -> list[str]:
    os.makedirs(to, exist_ok=True)
    copied = []
    for entry in source.list(path):
        if "/" in entry.name or entry.name in ("", ".", ".."):
            raise TrainyardError(f"{path}: the controller lists an entry named {entry.name!r}, which is no file name", "DATA_LOSS")
        local = os.path.join(to, entry.name)
        if entry.is_directory:
            copied += _download_directory(source, join(path, entry.name), local)
        else:
            copied.append(_download_file(source, join(path, entry.name), entry, local))
    return copied


def _stamp(entry: jobs_pb2.FileEntry) -> int:
    return int(entry.modified.seconds * 1000 + entry.modified.nanos // 1_000_000)


def _is_copy(local: str, entry: jobs_pb2.FileEntry) -> bool:
    try:
        status = os.stat(local)
    except OSError:
        return False
    return status.st_size == entry.size and status.st_mtime_ns // 1_000_000 == _stamp(entry)


def _download_file(source: Source, path: str, entry: jobs_pb2.FileEntry, local: str) -> str:
    if _is_copy(local, entry):
        return local
    folder, name = os.path.split(local)
    part = os.path.join(folder, f".{name}.{entry.size}-{_stamp(entry)}.part")
    for other in glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.*-*.part")):
        if other != part:
            os.unlink(other)  # of a version that is no more
    with open(part, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TrainyardError(f"{local}: another download of it is under way", "FAILED_PRECONDITION") from None
        file.truncate(min(file.tell(), entry.size))
        have = file.seek(0, os.SEEK_END)
        chunks = source.read(path, have) if have < entry.size else iter(())
        for chunk in chunks:
            # A file that grew meanwhile: this copy is of the version that was listed.
            file.write(chunk[:entry.size - have])
            have += len(chunk)
            if have >= entry.size:
                break
    if have < entry.size:
        raise TrainyardError(f"{path} has become shorter while it was copied ({have} of {entry.size} bytes): start again", "ABORTED")
    os.utime(part, ns=(_stamp(entry) * 1_000_000, _stamp(entry) * 1_000_000))
    os.replace(part, local)
    return local
