"""The way to the controller: one channel, calls with a time limit, and patient retries, so that a restart of the
controller is not seen. The same environment variables and defaults as the command line."""
from __future__ import annotations

import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Iterator

import grpc

from trainyard.errors import NotFound, TrainyardError, Unreachable

log = logging.getLogger("trainyard")

DEFAULT_CONTROLLER = "127.0.0.1:7470"
DEFAULT_PORT = 7470
CALL_LIMIT_S = 60.0
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A connection whose other end vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


@dataclass(frozen=True)
class Endpoint:
    """Where the controller is. Without certificates: no TLS (loopback, or a lab)."""

    controller: str = DEFAULT_CONTROLLER  # host:port
    ca: str | None = None                 # files
    certificate: str | None = None
    key: str | None = None
    retry_for: float = 20.0               # seconds to go on when the controller is away


def new_request_id() -> str:
    """Names one mutating call, also when it is sent again: the controller does it once."""
    return str(uuid.uuid4())


def target_of(controller: str) -> str:
    """What gRPC calls the address. Numbers skip name resolution, which may take its time."""
    if "://" in controller or controller.startswith("unix:"):
        return controller
    bare_ipv6 = controller.count(":") > 1 and not controller.startswith("[")
    host, port = (controller, "") if bare_ipv6 or controller.endswith("]") or ":" not in controller else controller.rsplit(":", 1)
    port = port or str(DEFAULT_PORT)
    if bare_ipv6 or host.startswith("["):
        return f"ipv6:[{host.strip('[]')}]:{port}"
    numeric = all(c.isdigit() or c == "." for c in host)
    return f"{'ipv4:' if numeric else 'dns:///'}{host}:{port}"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TrainyardError(f"cannot read {path}: {error.strerror}; check the path and its permissions", "INVALID_ARGUMENT") from None


def _open_channel(endpoint: Endpoint) -> Any:
    target = target_of(endpoint.controller)
    if not (endpoint.ca or endpoint.certificate or endpoint.key):
        return grpc.insecure_channel(target, options=OPTIONS)
    if not endpoint.ca or bool(endpoint.certificate) != bool(endpoint.key):
        raise TrainyardError("TLS needs ca, and certificate together with key (or TRAINYARD_CA, TRAINYARD_CERT, TRAINYARD_KEY)",
                             "INVALID_ARGUMENT")
    credentials = grpc.ssl_channel_credentials(_read(endpoint.ca), _read(endpoint.key) if endpoint.key else None,
                                               _read(endpoint.certificate) if endpoint.certificate else None)
    return grpc.secure_channel(target, credentials, options=OPTIONS)


class Connection:
    """One channel. Thread-safe; close() it, or use the client in a `with`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.channel = _open_channel(endpoint)

    def call(self, method: Callable[..., Any], request: Any, limit_s: float = CALL_LIMIT_S) -> Any:
        """One answer. Sent again, with the same request id, while the controller is away or has too much to do."""
        patience = Patience(self)
        while True:
            try:
                return method(request, timeout=limit_s)
            except grpc.RpcError as error:
                if not patience.again(error):
                    raise self.error_of(error) from None

    def pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """All answers to a request for a list, one page after the other."""
        while True:
            answer = self.call(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def error_of(self, error: Any) -> TrainyardError:
        """The exception for a failed call."""
        code, text = error.code(), error.details() or "the controller gave no reason"
        if code == grpc.StatusCode.NOT_FOUND:
            return NotFound(text, code.name)
        if code == grpc.StatusCode.UNAVAILABLE:
            return Unreachable(f"the controller at {self.endpoint.controller} cannot do it now, or cannot be reached: {text}; check that "
                               "trainyard-controller runs there, and `controller` or TRAINYARD_CONTROLLER", code.name)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and text == "Deadline Exceeded":
            return Unreachable(f"the controller at {self.endpoint.controller} did not answer in time", code.name)
        return TrainyardError(text, code.name)

    def close(self) -> None:
        self.channel.close()


class Patience:
    """Decides about one call whether to try again, and waits a little before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.progress()

    def progress(self) -> None:
        """Something went well: the time allowed starts anew."""
        self._started: float | None = None
        self._pause = 0.05

    def again(self, error: Any) -> bool:
        """After a failure. False: give up."""
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            return False
        now = time.monotonic()
        if self._started is None:
            self._started = now
            log.info("%s; trying again for up to %g s", error.details(), self._connection.endpoint.retry_for)
        if now - self._started + self._pause > self._connection.endpoint.retry_for:
            return False
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, 0.5)
        return True
