#!/usr/bin/python3
"""The helper that mounts volumes, by itself on one pretend host, with a real S3 server (s3rver; rclone and s3fs) and users' commands: one
mount for two users, everything written is on the server after the last one, wrong keys, silent file systems, nothing left."""
import json
import os
import shutil
import subprocess
import sys
import threading

from e2e import SKIPPED, build_directory, check, main, wait_until
from hosts import Network
from lab import LABS, PREFIX

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "volumes"))
from servers import abort_all_fuse, object_servers, write_silent  # noqa: E402


class _Node:
    """A pretend host and the helper's places on it."""

    def __init__(self, name):
        self.network = Network(os.path.join(LABS, f"{PREFIX}{os.getpid()}-{name}"))
        self.root = self.network.root
        self.network.add(["node1"])
        self.host = self.network.hosts["node1"]
        for program in ("bin/trainyard-helper", "bin/trainyard-shim", "lib/trainyard/trainyard-smbnetfs.so"):
            os.makedirs(os.path.join(self.root, os.path.dirname(program)), exist_ok=True)
            shutil.copy(os.path.join(build_directory(), program), os.path.join(self.root, program))
        self.cgroup = os.path.join(self.host.cgroup, "volumes")
        self.places = {name: os.path.join(self.root, name) for name in ("work", "spool", "run")}
        self.places.update(cgroup=self.cgroup, shim=os.path.join(self.root, "bin", "trainyard-shim"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.network.down()

    def helper(self, *words, **job):
        text = json.dumps({**job, "places": self.places} if job else self.places)
        return self.host.run([os.path.join(self.root, "bin", "trainyard-helper"), *words], stdin=None, input=text)

    def mount(self, volume, place, credential="", limit_ms=30000):
        return self.helper("mount-volume", volume={"relativeMountPath": "v", **volume}, target=self.at(place), fileMode="0777",
                           directoryMode="0777", credential=credential, limitMs=limit_ms)

    def unmount(self, place):
        done = self.helper("unmount-volume", self.at(place))
        check(done.returncode == 0, f"the unmount of {place}: {done.stderr}")

    def at(self, place):
        return os.path.join(self.root, "jobs", place)

    def shell(self, command):
        return self.host.run(["bash", "-c", command]).stdout

    def mounts(self):
        return [line.split()[4:6] for line in self.shell("cat /proc/self/mountinfo").splitlines() if "/jobs/" in line or "/mnt " in line]

    def nothing_left(self):
        left = [name for name in os.listdir(self.cgroup) if os.path.isdir(os.path.join(self.cgroup, name))] if os.path.isdir(self.cgroup) else []
        check(not self.mounts() and not left, f"nothing left: {self.mounts()} {left}")


def _s3(node, modules):
    objects = os.path.join(node.root, "objects")
    os.makedirs(objects)
    log = open(os.path.join(node.root, "s3.log"), "ab")
    server = node.host.start(["node", os.path.join(modules, "s3rver", "bin", "s3rver.js"), "-d", objects, "-p", "9000", "-a", "127.0.0.1"],
                             stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": node.root})
    probe = ["/usr/bin/python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 9000), 1)"]
    wait_until(lambda: node.host.run(probe).returncode == 0, 20, "the S3 server")
    return server, objects


def s3():
    modules = object_servers()
    missing = [program for program in ("rclone", "s3fs", "node") if shutil.which(program) is None]
    if modules is None or missing:
        print(f"skipped: {missing or 'no npm registry for s3rver'}")
        sys.exit(SKIPPED)
    with _Node("s3") as node:
        server, objects = _s3(node, modules)
        bucket = {"kind": "s3", "source": "bucket", "endpoint": "http://127.0.0.1:9000", "user": "S3RVER"}
        for user in ("one", "two"):
            done = node.mount(bucket, user, "canary-key")
            check(done.returncode == 0, f"the mount for {user}: {done.stderr}")
        check(len(node.mounts()) == 3 and all("nosuid,nodev" in options for _, options in node.mounts()), f"one mount, two binds: {node.mounts()}")
        node.shell(f"head -c 8000000 /dev/zero > {node.at('one')}/big")
        check(node.shell(f"stat -c %s {node.at('two')}/big") == "8000000\n", "the other one to see the file")
        node.unmount("one")
        check(len(node.mounts()) == 2, f"the last user keeps it: {node.mounts()}")
        node.unmount("two")
        node.nothing_left()
        check("big._S3rver_object" in os.listdir(os.path.join(objects, "bucket")), "what was written to be on the server, with no mount left")
        found = subprocess.run(["grep", "-rlF", "canary-key", node.root], capture_output=True, text=True).stdout
        check(not found, f"no file with the key: {found}")
        done = node.mount({**bucket, "options": "client=s3fs"}, "three", "canary-key")
        check(done.returncode == 0 and "fuse.s3fs" in node.shell("cat /proc/self/mountinfo"), f"s3fs: {done.stderr}")
        check("big" in node.shell(f"ls {node.at('three')}"), "s3fs to show what rclone wrote")
        node.unmount("three")
        wrong = node.mount({**bucket, "user": "NOBODY"}, "four", "canary-key")
        check(wrong.returncode == 4 and "InvalidAccessKeyId" in wrong.stderr, f"the server's words: {wrong.stderr}")
        server.kill()
        nowhere = node.mount({**bucket, "endpoint": "http://127.0.0.1:9"}, "five", "canary-key")
        check(nowhere.returncode == 9 and "refused" in nowhere.stderr, f"an unreachable server: {nowhere.stderr}")
        node.nothing_left()


def commands():
    """The path is appended; a file system that never answers is given up, and nothing waits for it."""
    armed = threading.Timer(90, abort_all_fuse)
    armed.daemon = True
    armed.start()
    with _Node("commands") as node:
        source = os.path.join(node.root, "a source")
        os.makedirs(source)
        done = node.mount({"kind": "command", "source": f"mount --bind '{source}'"}, "bound")
        check(done.returncode == 0 and "nosuid,nodev" in node.mounts()[0][1], f"a bind: {done.stderr} {node.mounts()}")
        node.unmount("bound")
        silent = write_silent(node.root)
        for command, code, words in (("true", 7, "nothing is mounted at"), ("echo my words >&2; exit 3 #", 7, "exited with code 3: my words"),
                                     (f"/usr/bin/python3 {silent}", 10, "no answer within 15 s")):
            done = node.mount({"kind": "command", "source": command}, "other")
            check(done.returncode == code and words in done.stderr, f"{command}: {done.returncode} {done.stderr}")
            node.nothing_left()
    armed.cancel()


def no_nfs_client():
    with _Node("nfs") as node:
        if "\tnfs4\n" in node.shell("cat /proc/filesystems"):
            return
        done = node.mount({"kind": "nfs", "source": "head:/export/data"}, "nfs")
        check(done.returncode == 7 and "its kernel has no NFS client" in done.stderr, f"what is missing: {done.stderr}")


if __name__ == "__main__":
    main(globals())
