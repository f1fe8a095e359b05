"""Batch AI's JSON to the typed API's messages: the controller does it, by the command line's own reader."""
from __future__ import annotations

import json
import os
from typing import Any, Mapping

from trainyard.connection import Connection, log
from trainyard.errors import TrainyardError
from trainyard.v1 import clusters_pb2, jobs_pb2, translate_pb2, translate_pb2_grpc

Source = Mapping[str, Any] | str | os.PathLike[str]  # {"properties": {...}}, or a file's path


def job(connection: Connection, source: Source, cluster: str, storage_account: str, strict: bool | None) -> jobs_pb2.JobSpec:
    name, text = _read(source, "the job")
    request = translate_pb2.TranslateJobRequest(text=text, file_name=name, cluster=cluster, storage_account_name=_account(storage_account))
    answer: translate_pb2.TranslateJobResponse = connection.call(_stub(connection).TranslateJob, request)
    _warn(name, list(answer.warnings), isinstance(source, Mapping) if strict is None else strict)
    return answer.spec


def cluster(connection: Connection, source: Source, storage_account: str, strict: bool | None) -> clusters_pb2.ClusterSpec:
    name, text = _read(source, "the cluster")
    request = translate_pb2.TranslateClusterRequest(text=text, file_name=name, storage_account_name=_account(storage_account))
    answer: translate_pb2.TranslateClusterResponse = connection.call(_stub(connection).TranslateCluster, request)
    _warn(name, list(answer.warnings), isinstance(source, Mapping) if strict is None else strict)
    return answer.spec


def _stub(connection: Connection) -> Any:
    return translate_pb2_grpc.TranslatorStub(connection.channel)


def _read(source: Source, what: str) -> tuple[str, str]:
    """The name for messages, and the JSON text."""
    if isinstance(source, Mapping):
        return what, json.dumps(source)
    name = os.fspath(source)
    try:
        with open(name, encoding="utf-8") as file:
            return name, file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainyardError(f"{name}: cannot be read: {error}", "INVALID_ARGUMENT") from None


def _account(given: str) -> str:
    return given or os.environ.get("AZURE_BATCHAI_STORAGE_ACCOUNT") or os.environ.get("TRAINYARD_STORAGE_ACCOUNT") or ""


def _warn(name: str, warnings: list[str], strict: bool) -> None:
    if warnings and strict:
        raise TrainyardError("; ".join(warnings), "INVALID_ARGUMENT")
    for warning in warnings:
        log.warning("%s: %s", name, warning)
