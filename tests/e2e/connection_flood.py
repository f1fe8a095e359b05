#!/usr/bin/python3
"""A flood of connections, twice as many as the controller may have descriptors, takes nothing down: who has a connection
goes on, and new callers are served again within seconds of its end. (gRPC 1.51 alone would accept nobody ever after.)"""
import json
import os
import socket
import subprocess
import tempfile
import time

from e2e import build_directory, check, main, wait_until

LIMIT = 400  # descriptors of the controller, soft and hard


class Controller:
    """A controller on loopback with few descriptors."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="trainyard-flood-")
        self.bin = os.path.join(build_directory(), "bin")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = os.path.join(self.folder.name, "controller.json")
        with open(config, "w") as file:
            json.dump({"state_dir": os.path.join(self.folder.name, "state"), "listen": f"127.0.0.1:{self.port}"}, file)
        self.log = open(os.path.join(self.folder.name, "log"), "w+b")
        self.process = subprocess.Popen(["prlimit", f"--nofile={LIMIT}:{LIMIT}", os.path.join(self.bin, "trainyard-controller"), "--config", config],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_until(lambda: self.cli("group", "list").returncode == 0, 10, "the controller answers")
        except BaseException:
            self.__exit__()
            raise
        return self

    def cli(self, *words):
        return subprocess.run([os.path.join(self.bin, "trainyard"), *words, "--controller", f"127.0.0.1:{self.port}"], capture_output=True, text=True, timeout=60)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def said(self):
        self.log.flush()
        with open(self.log.name) as file:
            return file.read()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


def flood():
    with Controller() as controller:
        check(controller.cli("group", "create", "-n", "before").returncode == 0, "a group before the flood")
        open_sockets = []
        try:
            for _ in range(2 * LIMIT):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", controller.port))
                open_sockets.append(one)
            wait_until(lambda: "connections refused" in controller.said(), 10, f"the controller says that it refuses: {controller.said()[-500:]}")
            check(controller.process.poll() is None, "the controller lives through the flood")
            check(controller.descriptors() < LIMIT, f"descriptors are kept in reserve: {controller.descriptors()} of {LIMIT}")
        finally:
            for one in open_sockets:
                one.close()
        ended = time.monotonic()
        wait_until(lambda: controller.cli("group", "show", "-n", "before").returncode == 0, 30, "callers are served again")
        took = time.monotonic() - ended
        check(took < 15, f"callers are served again within seconds, not after {took:.1f} s")
        check(controller.cli("group", "create", "-n", "after").returncode == 0, "a group after the flood")


if __name__ == "__main__":
    main(globals())
