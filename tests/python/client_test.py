#!/usr/bin/python3
"""The Python client against a scripted stand-in for the controller: retries, streams that break, downloads that go on."""
import contextlib
import os
import tempfile
import unittest
from concurrent import futures

import grpc
import trainyard
from trainyard import settings, transfer
from trainyard.connection import target_of
from trainyard.v1 import exec_pb2, exec_pb2_grpc, groups_pb2, groups_pb2_grpc, jobs_pb2, jobs_pb2_grpc, volumes_pb2, volumes_pb2_grpc

TEXT = "one\nzwei — zwölf\nthree".encode()


class BusyGroups(groups_pb2_grpc.GroupsServicer):
    """Refuses the first two calls; notes the request ids."""

    def __init__(self):
        self.ids = []

    def CreateGroup(self, request, context):
        self.ids.append(request.request_id)
        if len(self.ids) < 3:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "4096 events wait")
        return groups_pb2.Group(name=request.name)

    def GetGroup(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, f"group {request.name} does not exist")

    def ListGroups(self, request, context):
        at = int(request.page_token or 0)
        names = [groups_pb2.Group(name=name) for name in ("a", "b", "c")[at:at + 2]]
        return groups_pb2.ListGroupsResponse(groups=names, next_page_token=str(at + 2) if at + 2 < 3 else "")


class FlakyJobs(jobs_pb2_grpc.JobsServicer):
    """Breaks every stream after a few bytes, as a controller that is killed again and again would."""

    def __init__(self, files=None, attempts=(1,)):
        self.files = {"stdout.txt": TEXT} if files is None else files
        self.attempts, self.asked, self.read_from, self.states = list(attempts), 0, [], ["queued", "running", "failed"]

    def GetJob(self, request, context):
        attempt = self.attempts[min(self.asked, len(self.attempts) - 1)]
        return jobs_pb2.Job(name="j", execution_state="running", phase="running", attempt=attempt)

    def WatchJob(self, request, context):
        state = self.states.pop(0)
        yield jobs_pb2.Job(name="j", execution_state=state, reason="a reason", execution_info=jobs_pb2.ExecutionInfo(exit_code=7))
        if state != "failed":
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    def ReadJobFile(self, request, context):
        self.asked += 1
        self.read_from.append(request.offset)
        data = self.files[request.path]
        piece = data[request.offset:request.offset + 5]
        if piece:
            yield jobs_pb2.FileChunk(offset=request.offset, data=piece)
        if request.offset + len(piece) < len(data):
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    def ListJobFiles(self, request, context):
        answer = jobs_pb2.ListJobFilesResponse()
        below = request.path + "/" if request.path else ""
        for name in sorted({path[len(below):].split("/")[0] for path in self.files if path.startswith(below)}):
            entry = answer.files.add(name=name, is_directory=below + name not in self.files, size=len(self.files.get(below + name, b"")))
            entry.modified.FromMilliseconds(1_700_000_000_123)
        return answer


@contextlib.contextmanager
def serving(register, servicer):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with trainyard.connect(f"127.0.0.1:{port}", retry_for=5) as client:
        yield client
    server.stop(0).wait()


def job_of(client):
    return client.jobs.get("g", "w", "x", "j")


class Calls(unittest.TestCase):
    def test_a_call_that_is_sent_again_carries_the_same_request_id(self):
        groups = BusyGroups()
        with serving(groups_pb2_grpc.add_GroupsServicer_to_server, groups) as client:
            self.assertEqual(client.groups.create("g").name, "g")
        self.assertEqual(len(groups.ids), 3)
        self.assertEqual(len(set(groups.ids)), 1)

    def test_lists_come_whole_from_their_pages(self):
        with serving(groups_pb2_grpc.add_GroupsServicer_to_server, BusyGroups()) as client:
            self.assertEqual([group.name for group in client.groups.list()], ["a", "b", "c"])

    def test_errors_are_exceptions_with_the_controllers_words(self):
        with serving(groups_pb2_grpc.add_GroupsServicer_to_server, BusyGroups()) as client:
            with self.assertRaisesRegex(trainyard.NotFound, "group none does not exist") as caught:
                client.groups.show("none")
        self.assertEqual(caught.exception.code, "NOT_FOUND")

    def test_a_controller_that_is_not_there_is_named(self):
        with trainyard.connect("127.0.0.1:1", retry_for=0) as client:
            with self.assertRaisesRegex(trainyard.Unreachable, "127.0.0.1:1.*TRAINYARD_CONTROLLER"):
                client.groups.list()

    def test_addresses_and_certificates_are_as_the_command_lines(self):
        for given, target in (("10.0.0.1:7000", "ipv4:10.0.0.1:7000"), ("host", "dns:///host:7470"), ("::1", "ipv6:[::1]:7470"),
                              ("[::1]:7000", "ipv6:[::1]:7000"), ("unix:/run/x", "unix:/run/x")):
            self.assertEqual(target_of(given), target)
        with self.assertRaisesRegex(trainyard.TrainyardError, "certificate together with key"):
            trainyard.connect(ca="/dev/null", certificate="/dev/null")
        with self.assertRaisesRegex(trainyard.TrainyardError, "cannot read /none"):
            trainyard.connect(ca="/none")


class Defaults(unittest.TestCase):
    """As `trainyard configure` keeps them: flag, environment, file, built in."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, "config")
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
            del os.environ[name]
        os.environ["TRAINYARD_CONFIG_DIR"] = folder.name

    def test_what_wins(self):
        self.assertEqual(trainyard.defaults(), trainyard.Defaults())
        with open(self.file, "w") as file:
            file.write("# mine\n[defaults]\ngroup = g\nworkspace=w\ncontroller = head:7000\noutput = table\n")
        self.assertEqual(trainyard.defaults(), trainyard.Defaults(group="g", workspace="w", controller="head:7000"))
        self.assertEqual(trainyard.connect().connection.endpoint.controller, "head:7000")
        os.environ.update(TRAINYARD_GROUP="other", TRAINYARD_CONTROLLER="elsewhere")
        self.assertEqual(trainyard.defaults(), trainyard.Defaults(group="other", workspace="w", controller="elsewhere"))
        self.assertEqual(trainyard.connect("given").connection.endpoint.controller, "given")

    def test_a_broken_file_is_said_to_be_so_and_locks_nobody_out(self):
        with open(self.file, "w") as file:
            file.write("group = early\n[defaults]\ngroup\nnonsense = 1\nworkspace = w\n[other]\nexperiment = x\n")
        with self.assertLogs("trainyard", "WARNING") as logged:
            self.assertEqual(trainyard.defaults(), trainyard.Defaults(workspace="w"))
        self.assertEqual([line.split(": ", 1)[1] for line in logged.output],
                         ["group is not below [defaults]; the line is ignored", "is not NAME = VALUE; the line is ignored",
                          "there is no setting nonsense; the line is ignored", "there is only the section [defaults]; the line is ignored",
                          "experiment is not below [defaults]; the line is ignored"])
        self.assertTrue(all(f"{self.file}:{number}:" in line for number, line in zip((1, 3, 4, 6, 7), logged.output)))
        self.assertEqual(settings.path(), self.file)


class Shell(exec_pb2_grpc.ExecServicer):
    """Says what it was asked, echoes its input, and ends; or goes away in the middle."""

    def ExecInJob(self, requests, context):
        start = next(requests).start
        yield exec_pb2.ExecReply(started=exec_pb2.ExecNode(node_id=start.node or "n1"))
        yield exec_pb2.ExecReply(err=start.command.encode())
        if start.command == "vanish":
            context.abort(grpc.StatusCode.UNAVAILABLE, "node n1 went away")
        for request in requests:
            if request.finish:
                break
            yield exec_pb2.ExecReply(out=request.data)
        yield exec_pb2.ExecReply(end=exec_pb2.ExecEnd(exit_code=7))


class Commands(unittest.TestCase):
    def test_a_commands_output_and_end(self):
        data = bytes(range(256)) * 4096  # more than one part
        with serving(exec_pb2_grpc.add_ExecServicer_to_server, Shell()) as client:
            done = job_of(client).exec("a command", "n2", stdin=data)
            self.assertEqual((done.node, done.exit_code, done.stdout == data, done.stderr), ("n2", 7, True, b"a command"))
            with tempfile.TemporaryFile() as file:
                self.assertEqual(job_of(client).exec("x", stdin=b"abc", stdout=file).stdout, b"")
                file.seek(0)
                self.assertEqual(file.read(), b"abc")
            # It is not sent again: nobody knows how far it came.
            with self.assertRaisesRegex(trainyard.Unreachable, "node n1 went away"):
                job_of(client).exec("vanish")


class FlakyVolumes(volumes_pb2_grpc.VolumesServicer):
    """Breaks the first two tries of an upload, and of a share's delete."""

    def __init__(self):
        self.uploads, self.ids = [], []

    def UploadFile(self, requests, context):
        size = next(requests).size
        data = b""
        for part in requests:
            data += part.data
            if len(self.uploads) < 2:
                break
        self.uploads.append((size, len(data)))
        if len(self.uploads) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return volumes_pb2.UploadFileResponse(size=len(data))

    def ListFiles(self, request, context):
        return volumes_pb2.ListFilesResponse()

    def DeleteShare(self, request, context):
        self.ids.append(request.request_id)
        if len(self.ids) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return volumes_pb2.DeleteShareResponse()


class Shares(unittest.TestCase):
    def test_uploads_and_deletes_that_broke_are_done_again(self):
        volumes = FlakyVolumes()
        with serving(volumes_pb2_grpc.add_VolumesServicer_to_server, volumes) as client, tempfile.NamedTemporaryFile() as file:
            file.write(bytes(1_000_000))
            file.flush()
            self.assertEqual(client.storage.upload("a", "s", "x", file.name), 1_000_000)
            client.storage.delete_share("a", "s")
        self.assertEqual(volumes.uploads[2], (1_000_000, 1_000_000))
        self.assertTrue(all(size == 1_000_000 and sent < size for size, sent in volumes.uploads[:2]))
        self.assertEqual((len(volumes.ids), len(set(volumes.ids))), (3, 1))


class Streams(unittest.TestCase):
    def test_a_followed_file_loses_and_doubles_no_byte_when_its_streams_break(self):
        jobs = FlakyJobs()
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, jobs) as client:
            self.assertEqual(list(job_of(client).stream()), ["one", "zwei — zwölf", "three"])
            self.assertEqual(b"".join(job_of(client).read("stdout.txt", offset=4)), TEXT[4:])
        self.assertEqual(jobs.read_from[:3], [0, 5, 10])

    def test_a_new_attempts_file_is_read_from_its_beginning(self):
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, FlakyJobs({"stdout.txt": b"abcdefgh"}, attempts=(1, 2))) as client:
            self.assertEqual(list(job_of(client).stream()), ["abcde", "abcdefgh"])

    def test_watching_outlives_broken_streams_and_a_failure_says_why(self):
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, FlakyJobs()) as client:
            states = [job.execution_state for job in job_of(client).watch()]
        self.assertEqual(states, ["queued", "running", "failed"])
        failed = trainyard.JobFailed(jobs_pb2.Job(name="j", reason="a reason", execution_info=jobs_pb2.ExecutionInfo(exit_code=7)))
        self.assertEqual((str(failed), failed.exit_code), ("job j failed with exit code 7: a reason", 7))


class Downloads(unittest.TestCase):
    FILES = {"a.txt": b"0123456789", "deep/er/b.bin": bytes(range(256)), "deep/empty": b""}

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def at(self, name):
        return os.path.join(self.folder.name, name)

    def content(self, name):
        with open(self.at(name), "rb") as file:
            return file.read()

    def test_a_directory_comes_whole_and_what_is_here_is_not_copied_again(self):
        jobs = FlakyJobs(self.FILES)
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, jobs) as client:
            copied = job_of(client).download(to=self.folder.name)
            self.assertEqual(sorted(os.path.relpath(path, self.folder.name) for path in copied), sorted(self.FILES))
            for name, data in self.FILES.items():
                self.assertEqual(self.content(name), data)
            asked = jobs.asked
            self.assertEqual(job_of(client).download(to=self.folder.name), copied)
            self.assertEqual(jobs.asked, asked)

    def test_a_copy_that_was_cut_off_goes_on_where_it_stopped(self):
        jobs = FlakyJobs(self.FILES)
        with open(self.at(".a.txt.10-1700000000123.part"), "wb") as part:
            part.write(b"0123456")
        with open(self.at(".a.txt.11-1600000000000.part"), "wb") as part:
            part.write(b"of a version that is no more")
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, jobs) as client:
            self.assertEqual(job_of(client).download("a.txt", to=self.at("renamed")), [self.at("renamed")])
            self.assertEqual(jobs.read_from.pop(0), 0)  # another destination: nothing of it was here
            jobs.read_from.clear()
            self.assertEqual(job_of(client).download("./a.txt", to=self.folder.name), [self.at("a.txt")])
        self.assertEqual((jobs.read_from, self.content("a.txt")), ([7], b"0123456789"))
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["a.txt", "renamed"])

    def test_what_does_not_exist_is_named_and_names_cannot_leave_the_directory(self):
        with serving(jobs_pb2_grpc.add_JobsServicer_to_server, FlakyJobs(self.FILES)) as client:
            with self.assertRaisesRegex(trainyard.NotFound, "deep/none does not exist"):
                job_of(client).download("deep/none", to=self.folder.name)

        class Hostile:
            def list(self, path):
                return [jobs_pb2.FileEntry(name="..", size=1)]

            def read(self, path, offset):
                return iter([b"x"])

        with self.assertRaisesRegex(trainyard.TrainyardError, "no file name"):
            transfer.download(Hostile(), ".", self.folder.name)


if __name__ == "__main__":
    unittest.main()
