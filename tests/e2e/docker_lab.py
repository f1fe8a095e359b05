#!/usr/bin/python3
"""docker/: podman builds the images of the packages, docker-compose brings the lab up on a dockerd of its own, and an MPI job runs over
its three nodes. In a network namespace, on a base image made here. Skipped where the tools are missing, or no container runs here.
PACKAGES=FOLDER takes packages that are there."""
import json
import os
import shutil
import signal
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
    """podman and dockerd with stores of their own, and a network in which the lab's bridge disturbs nobody. Images are built by podman, on the
    outside, because they need the machine's way to the packages; what runs, runs inside, by dockerd."""

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
        self.environment["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        self.cgroup = f"tydocker-{os.getpid()}"
        with open(os.path.join(folder, "daemon.json"), "w") as file:
            json.dump({"bridge": "none", "iptables": False, "ip6tables": False, "data-root": f"{folder}/docker", "exec-root": f"{folder}/exec",
                       "pidfile": f"{folder}/dockerd.pid", "hosts": [self.environment["DOCKER_HOST"]], "cgroup-parent": f"/{self.cgroup}"}, file)
        # Its mounts are in a namespace that goes with it.
        with open(os.path.join(folder, "dockerd.log"), "w") as log:
            self.daemon = subprocess.Popen(["nsenter", f"--net=/proc/{self.network.pid}/ns/net", "unshare", "--mount", "--propagation", "private",
                                            "dockerd", "--config-file", f"{folder}/daemon.json"], stdout=log, stderr=log, env=self.environment)

    def run(self, argv, **environment):
        return subprocess.run(argv, env={**self.environment, **environment}, capture_output=True, text=True, check=False, timeout=500)

    def must(self, argv, **environment):
        done = self.run(argv, **environment)
        check(done.returncode == 0, f"{argv}: {done.stdout[-1000:]} {done.stderr[-1500:]}")
        return done.stdout

    def compose(self, *words):
        return self.must(["docker-compose", "-f", os.path.join(DOCKER, "compose.yaml"), *words])

    def trainyard(self, line):
        return self.must([os.path.join(DOCKER, "trainyard"), *line.split()], ENGINE="docker")

    def load(self, *images):
        archive = os.path.join(self.folder, "images.tar")
        self.must([*self.outside.split(), "save", "--multi-image-archive", "-o", archive, *images])
        self.must(["docker", "load", "-i", archive])
        os.unlink(archive)

    def down(self):
        self.run(["docker-compose", "-f", os.path.join(DOCKER, "compose.yaml"), "down", "-v", "-t", "2"])
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(60)
        for place in os.listdir("/sys/fs/cgroup"):
            for folder, _, _ in os.walk(os.path.join("/sys/fs/cgroup", place, self.cgroup), topdown=False):
                os.rmdir(folder)
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
    missing = [tool for tool in ("podman", "docker", "dockerd", "docker-compose", "runc", "mmdebstrap", "nsenter") if not shutil.which(tool)]
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
            ran = machine.run([*machine.outside.split(), "run", "--rm", "--network=none", "localhost/debian:12", "true"])
            if imported.returncode or ran.returncode:
                _skip(f"podman runs no container here: {imported.stderr[-300:]} {ran.stderr[-300:]}")
            wait_until(lambda: machine.run(["docker", "version"]).returncode == 0, 60, "dockerd answers", 0.2)
            machine.must([os.path.join(DOCKER, "build")], ENGINE=machine.outside, BASE="localhost/debian:12", TRAINYARD_BUILD_DIR=build_directory())
            machine.load(*(f"localhost/trainyard-{part}" for part in ("controller", "agent", "cli")))
            machine.compose("up", "-d")
            _job_over_three_nodes(machine)
        finally:
            machine.down()


if __name__ == "__main__":
    main(globals())
