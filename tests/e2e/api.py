#!/usr/bin/python3
"""gRPC is the product's API: a client that knows no .proto file finds everything by reflection, as grpcurl does."""
import json
import os
import socket
import subprocess
import tempfile
import time

from e2e import build_directory, check, main

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

REFLECTION = """
syntax = "proto3";
package grpc.reflection.v1alpha;
message ServerReflectionRequest { string host = 1; oneof message_request { string file_containing_symbol = 4; string list_services = 7; } }
message ServerReflectionResponse { oneof message_response { FileDescriptorResponse file_descriptor_response = 4; ListServiceResponse list_services_response = 6; } }
message FileDescriptorResponse { repeated bytes file_descriptor_proto = 1; }
message ListServiceResponse { repeated ServiceResponse service = 1; }
message ServiceResponse { string name = 1; }
"""
HEALTH = """
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; } ServingStatus status = 1; }
"""


class Client:
    """Speaks reflection and health (two published protocols); learns the rest from the server."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.pool = descriptor_pool.DescriptorPool()
        for name, text in (("reflection", REFLECTION), ("health", HEALTH)):
            self.pool.AddSerializedFile(_compiled(name, text))
        self.known = set()

    def message(self, name):
        return message_factory.MessageFactory(self.pool).GetPrototype(self.pool.FindMessageTypeByName(name))

    def reflect(self, **question):
        ask = self.message("grpc.reflection.v1alpha.ServerReflectionRequest")(**question)
        call = self.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                          request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=self.message("grpc.reflection.v1alpha.ServerReflectionResponse").FromString)
        return next(iter(call(iter([ask]), timeout=5)))

    def services(self):
        return [s.name for s in self.reflect(list_services="").list_services_response.service]

    def learn(self, service):
        files = {}
        for raw in self.reflect(file_containing_symbol=service).file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[file.name] = file

        def add(name):
            if name in self.known or name not in files:
                return
            for needed in files[name].dependency:
                add(needed)
            self.pool.Add(files[name])
            self.known.add(name)

        for name in files:
            add(name)

    def call(self, service, method, **fields):
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        request, answer = self.message(found.input_type.full_name), self.message(found.output_type.full_name)
        stub = self.channel.unary_unary(f"/{service}/{method}", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=answer.FromString)
        return stub(request(**fields), timeout=5)

    def health(self):
        stub = self.channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=self.message("grpc.health.v1.HealthCheckResponse").FromString)
        return stub(self.message("grpc.health.v1.HealthCheckRequest")(), timeout=5)


def _compiled(name, text):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, name + ".proto"), "w") as file:
            file.write(text)
        subprocess.run(["protoc", f"-I{folder}", f"--descriptor_set_out={folder}/out", f"{folder}/{name}.proto"], check=True)
        with open(os.path.join(folder, "out"), "rb") as file:
            return descriptor_pb2.FileDescriptorSet.FromString(file.read()).file[0].SerializeToString()


class Controller:
    """The real controller alone, on a free port of the loopback."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        program = os.path.join(build_directory(), "bin", "trainyard-controller")
        self.process = subprocess.Popen([program, "--state-dir", os.path.join(self.folder.name, "state"), "--listen", self.address],
                                        stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                grpc.channel_ready_future(grpc.insecure_channel(self.address)).result(timeout=1)
                return self
            except grpc.FutureTimeoutError:
                check(self.process.poll() is None and time.monotonic() < deadline, "the controller answers")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.folder.cleanup()


def found_by_reflection():
    with Controller() as controller:
        client = Client(controller.address)
        services = client.services()
        for noun in ("Groups", "Workspaces", "Experiments", "Clusters", "Jobs", "Volumes", "Nodes"):
            check(f"trainyard.v1.{noun}" in services, f"{noun} among the services: {services}")
        client.learn("trainyard.v1.Groups")
        made = client.call("trainyard.v1.Groups", "CreateGroup", name="found", location="here")
        check(made.name == "found" and made.provisioning_state == "succeeded", f"the group made: {made}")
        listed = client.call("trainyard.v1.Groups", "ListGroups")
        check([g.name for g in listed.groups] == ["found"], f"the group listed: {listed}")


def a_long_list_in_pages():
    """A page holds a thousand; the command line puts the pages together."""
    with Controller() as controller:
        client = Client(controller.address)
        client.learn("trainyard.v1.Groups")
        names = [f"g{n:04}" for n in range(1003)]
        for name in names:
            client.call("trainyard.v1.Groups", "CreateGroup", name=name)
        first = client.call("trainyard.v1.Groups", "ListGroups")
        check([g.name for g in first.groups] == names[:1000] and first.next_page_token, "the first page")
        rest = client.call("trainyard.v1.Groups", "ListGroups", page_token=first.next_page_token)
        check([g.name for g in rest.groups] == names[1000:] and not rest.next_page_token, "the last page")
        trainyard = os.path.join(build_directory(), "bin", "trainyard")
        listed = subprocess.run([trainyard, "group", "list", "-o", "json", "--controller", controller.address], capture_output=True, check=True)
        check([g["name"] for g in json.loads(listed.stdout)] == names, "all of them, in order")


def healthy():
    with Controller() as controller:
        answer = Client(controller.address).health()
        check(answer.status == 1, f"SERVING: {answer}")


def same_request_same_answer():
    with Controller() as controller:
        client = Client(controller.address)
        client.learn("trainyard.v1.Groups")
        first = client.call("trainyard.v1.Groups", "CreateGroup", request_id="r1", name="g", location="a")
        again = client.call("trainyard.v1.Groups", "CreateGroup", request_id="r1", name="g", location="a")
        check(first == again, f"the first answer again: {first} {again}")
        try:
            client.call("trainyard.v1.Groups", "CreateGroup", request_id="r1", name="other", location="a")
            check(False, "another body under the same id is refused")
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.ABORTED, f"ABORTED: {error}")


if __name__ == "__main__":
    main(globals())
