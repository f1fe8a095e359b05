"""Storage: accounts, shares under them, and their files."""
from __future__ import annotations

import os
import time
from typing import Callable, Iterator

import grpc

from trainyard import transfer
from trainyard.connection import Connection, Patience, new_request_id
from trainyard.errors import NotFound
from trainyard.v1 import jobs_pb2, volumes_pb2, volumes_pb2_grpc

CHUNK_BYTES = 256 * 1024


class Storage:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, volumes_pb2_grpc.VolumesStub(connection.channel)

    def create_account(self, group: str, name: str, location: str = "") -> volumes_pb2.Account:
        request = volumes_pb2.CreateAccountRequest(request_id=new_request_id(), resource_group=group, name=name, location=location)
        account: volumes_pb2.Account = self._connection.call(self._stub.CreateAccount, request)
        return account

    def create_share(self, account: str, name: str) -> volumes_pb2.Share:
        share: volumes_pb2.Share = self._connection.call(
            self._stub.CreateShare, volumes_pb2.CreateShareRequest(request_id=new_request_id(), account=account, name=name))
        return share

    def list_accounts(self, group: str = "") -> list[volumes_pb2.Account]:
        """All, or one group's."""
        return list(self._connection.call(self._stub.ListAccounts, volumes_pb2.ListAccountsRequest(resource_group=group)).accounts)

    def list_shares(self, account: str) -> list[volumes_pb2.Share]:
        return list(self._connection.call(self._stub.ListShares, volumes_pb2.ListSharesRequest(account=account)).shares)

    def delete_share(self, account: str, name: str, timeout: float | None = None) -> None:
        """Deletes the share with all its files; returns when they are gone. Refused, naming them, while jobs that have not
        ended or clusters mount it. Broken off (TimeoutError, an exception), it leaves a share that cannot be used any more:
        delete it again."""
        request = volumes_pb2.DeleteShareRequest(request_id=new_request_id(), account=account, name=name)
        end = None if timeout is None else time.monotonic() + timeout
        patience = Patience(self._connection)
        while True:
            try:
                self._stub.DeleteShare(request, timeout=None if end is None else max(0.01, end - time.monotonic()))
                return
            except grpc.RpcError as error:
                if end is not None and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise TimeoutError(f"share {name} is not gone within {timeout:g} s; delete it again to go on") from None
                if not patience.again(error):
                    raise self._connection.error_of(error) from None

    def create_directory(self, account: str, share: str, path: str) -> bool:
        """Makes it with its parents. False: it was there."""
        request = volumes_pb2.CreateDirectoryRequest(request_id=new_request_id(), directory=_at(account, share, path))
        return bool(self._connection.call(self._stub.CreateDirectory, request).created)

    def list_files(self, account: str, share: str, path: str = "") -> list[jobs_pb2.FileEntry]:
        request = volumes_pb2.ListFilesRequest(directory=_at(account, share, path))
        return list(self._connection.call(self._stub.ListFiles, request).files)

    def delete_file(self, account: str, share: str, path: str) -> None:
        request = volumes_pb2.DeleteFileRequest(request_id=new_request_id(), file=_at(account, share, path))
        self._connection.call(self._stub.DeleteFile, request)

    def upload(self, account: str, share: str, path: str, source: str | os.PathLike[str]) -> int:
        """Copies a file to the share's `path` (into it when that is a directory), or a directory's content into the directory
        `path`. A file appears whole or not at all. Returns the number of bytes."""
        source, path = os.fspath(source), transfer.clean(path)
        if os.path.isdir(source):
            return self._upload_directory(account, share, path, source)
        if path == "" or self._is_directory(account, share, path):
            path = transfer.join(path, os.path.basename(source))
        return self._upload_file(account, share, path, source)

    def download(self, account: str, share: str, path: str, to: str = ".") -> list[str]:
        """Copies a file or a whole directory to here; what is here already is not copied again, and a copy that was cut off
        goes on where it stopped. Returns the local paths."""
        return transfer.download(_ShareFiles(self, account, share), path, to)

    def read(self, account: str, share: str, path: str, offset: int = 0) -> Iterator[bytes]:
        """A file's bytes from `offset`."""
        request = volumes_pb2.DownloadFileRequest(file=_at(account, share, path), offset=offset)
        return transfer.pieces(self._connection, self._stub.DownloadFile, request)

    def _is_directory(self, account: str, share: str, path: str) -> bool:
        try:
            folder, _, name = path.rpartition("/")
            return any(entry.name == name and entry.is_directory for entry in self.list_files(account, share, folder))
        except NotFound:
            return False

    def _upload_directory(self, account: str, share: str, path: str, source: str) -> int:
        if path:
            self.create_directory(account, share, path)
        total = 0
        for name in sorted(os.listdir(source)):
            local, remote = os.path.join(source, name), transfer.join(path, name)
            total += self._upload_directory(account, share, remote, local) if os.path.isdir(local) else self._upload_file(account, share, remote, local)
        return total

    def _upload_file(self, account: str, share: str, path: str, source: str) -> int:
        patience = Patience(self._connection)
        furthest = 0  # of all tries: each begins anew, and one that gets further is progress

        def sent(count: int) -> None:
            nonlocal furthest
            if count > furthest:
                furthest = count
                patience.progress()

        while True:
            try:
                return int(self._stub.UploadFile(_parts(_at(account, share, path), source, sent)).size)
            except grpc.RpcError as error:
                if not patience.again(error):
                    raise self._connection.error_of(error) from None


def _parts(target: volumes_pb2.SharePath, source: str, sent: Callable[[int], None]) -> Iterator[volumes_pb2.UploadFileRequest]:
    with open(source, "rb") as file:
        yield volumes_pb2.UploadFileRequest(target=target, size=os.fstat(file.fileno()).st_size)
        count = 0
        while chunk := file.read(CHUNK_BYTES):
            yield volumes_pb2.UploadFileRequest(data=chunk)
            count += len(chunk)
            sent(count)


def _at(account: str, share: str, path: str) -> volumes_pb2.SharePath:
    return volumes_pb2.SharePath(account=account, share=share, path=transfer.clean(path))


class _ShareFiles:
    """A share, for transfer.download."""

    def __init__(self, storage: Storage, account: str, share: str) -> None:
        self._storage, self._account, self._share = storage, account, share

    def list(self, path: str) -> list[jobs_pb2.FileEntry]:
        return self._storage.list_files(self._account, self._share, path)

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        return self._storage.read(self._account, self._share, path, offset)
