#!/usr/bin/python3
"""docker/: the images are built of the packages, podman-compose brings the lab up, and an MPI job runs over its three nodes.
In a network namespace, on a base image made here. Skipped where the tools are missing, or podman cannot run a container."""
import os
import shutil
import subprocess
import sys
import tempfile

from e2e import CHECKOUT, SKIPPED, build_directory, check, main, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "containers"))
from images import ImageError, base_tar  # noqa: E402

DOCKER = os.path.join(CHECKOUT, "docker")
HOME = ["group create -n g", "workspace create -g g -n w", "experiment create -g g -w w -n e", "storage account create -g g -n a",
        "storage share create -n s --account-name a", "cluster create -g g -w w -n c -s STANDARD_NC6 -t 3"]


def _skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


class _Machine:
    """An engine with a store of its own, and a network in which the lab's bridge disturbs nobody."""

    def __init__(self, folder):
        self.folder = folder
        self.network = subprocess.Popen(["unshare", "--net", "--kill-child=SIGKILL", "sh", "-c", "ip link set lo up && echo up && exec cat"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.network.stdout.readline()
        with open(os.path.join(folder, "containers.conf"), "w") as file:
            file.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
                       '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n')
        self.environment = {**os.environ, "HOME": folder, "CONTAINERS_CONF": os.path.join(folder, "containers.conf"), "TMPDIR": folder}
        self.outside = f"podman --root {folder}/store --runroot {folder}/run --tmpdir {folder}/tmp"
        self.inside = os.path.join(folder, "podman")
        with open(self.inside, "w") as file:
            file.write(f'#!/bin/sh\nexec nsenter --net=/proc/{self.network.pid}/ns/net {self.outside} "$@"\n')
        os.chmod(self.inside, 0o755)

    def run(self, argv, **environment):
        return subprocess.run(argv, env={**self.environment, **environment}, capture_output=True, text=True, check=False, timeout=500)

    def must(self, argv, **environment):
        done = self.run(argv, **environment)
        check(done.returncode == 0, f"{argv}: {done.stdout[-1000:]} {done.stderr[-1500:]}")
        return done.stdout

    def compose(self, *words):
        return self.must(["podman-compose", "--podman-path", self.inside, "-f", os.path.join(DOCKER, "compose.yaml"), *words])

    def trainyard(self, line):
        return self.must([os.path.join(DOCKER, "trainyard"), *line.split()], ENGINE=self.inside)

    def down(self):
        self.run(["podman-compose", "--podman-path", self.inside, "-f", os.path.join(DOCKER, "compose.yaml"), "down", "-v", "-t", "2"])
        self.run([*self.outside.split(), "system", "reset", "--force"])
        self.network.stdin.close()
        self.network.wait()


def _job_over_three_nodes(machine):
    for line in HOME:
        machine.trainyard(f"{line} -o none")
    wait_until(lambda: machine.trainyard("node list --query [?reachable].name -o tsv").split() == ["node1", "node2", "node3"], 60, "three nodes", 0.5)
    machine.trainyard("job create -g g -w w -e e -c c -n j -f job.json -o none")
    machine.trainyard("job wait -g g -w w -e e -n j")
    out = machine.trainyard("job file stream -g g -w w -e e -j j -f stdout.txt")
    check(sorted(out.split("\n"))[1:] == [f"rank {rank} of 3 on node{rank + 1}" for rank in range(3)], f"a rank on each node: {out}")


def images_and_compose_file():
    missing = [tool for tool in ("podman", "podman-compose", "runc", "mmdebstrap", "nsenter") if not shutil.which(tool)]
    if missing:
        _skip(f"not installed: {missing}")
    try:
        base = base_tar()
    except ImageError as error:
        _skip(f"no base image can be made here: {error}")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="tydocker-") as folder:
        machine = _Machine(folder)
        try:
            imported = machine.run([*machine.outside.split(), "import", base, "localhost/debian:12"])
            ran = machine.run([machine.inside, "run", "--rm", "--network=none", "localhost/debian:12", "true"])
            if imported.returncode or ran.returncode:
                _skip(f"podman runs no container here: {imported.stderr[-300:]} {ran.stderr[-300:]}")
            machine.must([os.path.join(DOCKER, "build")], ENGINE=machine.outside, BASE="localhost/debian:12", TRAINYARD_BUILD_DIR=build_directory())
            machine.compose("up", "-d")
            _job_over_three_nodes(machine)
        finally:
            machine.down()


if __name__ == "__main__":
    main(globals())
