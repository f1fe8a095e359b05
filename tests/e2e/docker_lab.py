#!/usr/bin/python3
"""docker/README.md, command for command: podman builds the images of the packages, docker-compose brings the lab up on a dockerd of its
own, an MPI job runs over its three nodes, a second one is terminated, and `down` leaves nothing. In a network namespace, on a base image
made here. Skipped where the tools are missing, or no container runs here. PACKAGES=FOLDER takes packages that are there."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from e2e import CHECKOUT, SKIPPED, build_directory, check, main, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "containers"))
from images import ImageError, base_tar  # noqa: E402

NODES = ["node1", "node2", "node3"]
IMAGES = [f"localhost/trainyard-{part}" for part in ("controller", "agent", "cli")]
CGROUPS = "/sys/fs/cgroup"


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
        self.environment = {**os.environ, "HOME": folder, "CONTAINERS_CONF": os.path.join(folder, "containers.conf"), "TMPDIR": folder,
                            "DOCKER_HOST": f"unix://{folder}/docker.sock"}
        self.podman = f"podman --root {folder}/store --runroot {folder}/run --tmpdir {folder}/tmp"
        # The plugin of newer dockers, or Debian's program.
        self.compose = "docker compose" if self.run("docker compose version").returncode == 0 else "docker-compose"
        self.cgroup = f"tydocker-{os.getpid()}"
        with open(os.path.join(folder, "daemon.json"), "w") as file:
            json.dump({"bridge": "none", "iptables": False, "ip6tables": False, "data-root": f"{folder}/docker", "exec-root": f"{folder}/exec",
                       "pidfile": f"{folder}/dockerd.pid", "hosts": [self.environment["DOCKER_HOST"]], "cgroup-parent": f"/{self.cgroup}"}, file)
        # Its mounts are in a namespace that goes with it.
        with open(os.path.join(folder, "dockerd.log"), "w") as log:
            self.daemon = subprocess.Popen(["nsenter", f"--net=/proc/{self.network.pid}/ns/net", "unshare", "--mount", "--propagation", "private",
                                            "dockerd", "--config-file", f"{folder}/daemon.json"], stdout=log, stderr=log, env=self.environment)

    def run(self, line, **environment):
        return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=CHECKOUT, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=600)

    def must(self, line, **environment):
        began = time.monotonic()
        done = self.run(line.replace("docker compose", self.compose), **environment)
        check(done.returncode == 0, f"`{line}` to work: {done.stdout[-1000:]} {done.stderr[-1500:]}")
        print(f"    {line.split('  #')[0][:110]}  {time.monotonic() - began:.1f} s", flush=True)
        return done.stdout

    def ask(self, line):
        """As must(), of what is asked again and again."""
        done = self.run(line)
        check(done.returncode == 0, f"`{line}` to work: {done.stderr[-1500:]}")
        return done.stdout

    def cgroups(self):
        """Directories of the engine's containers, in every hierarchy."""
        places = [os.path.join(CGROUPS, place, self.cgroup) for place in ["", *os.listdir(CGROUPS)]]
        return [os.path.join(folder, name) for place in places for folder, names, _ in os.walk(place) for name in names]

    def mounts(self):
        """What containers need below the engine's folder, as the engine sees it."""
        with open(f"/proc/{self.daemon.pid}/mountinfo") as file:
            points = [line.split()[4] for line in file]
        return [point for point in points if point.startswith(self.folder) and re.search(r"/(overlay2|containers|netns|shm)\b", point)]

    def links(self):
        done = self.ask(f"nsenter --net=/proc/{self.network.pid}/ns/net ip -brief link")
        return [line.split()[0] for line in done.splitlines()]

    def down(self):
        self.run(f"{self.compose} -f docker/compose.yaml down -v -t 2")
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(60)
        for place in ["", *os.listdir(CGROUPS)]:
            if os.path.isdir(os.path.join(CGROUPS, place, self.cgroup)):
                os.rmdir(os.path.join(CGROUPS, place, self.cgroup))
        self.run(f"{self.podman} system reset --force")
        self.network.stdin.close()
        self.network.wait()


def _blocks():
    """What the page says to type: per block of code its lines."""
    with open(os.path.join(CHECKOUT, "docker", "README.md")) as file:
        return [block.splitlines() for block in re.findall(r"^```\n(.*?)^```$", file.read(), re.M | re.S)]


def _build(machine, command):
    try:
        base = base_tar()
    except ImageError as error:
        _skip(f"no base image can be made here: {error}")
    imported = machine.run(f"{machine.podman} import {base} localhost/debian:12")
    ran = machine.run(f"{machine.podman} run --rm --network=none localhost/debian:12 true")
    if imported.returncode or ran.returncode:
        _skip(f"podman runs no container here: {imported.stderr[-300:]} {ran.stderr[-300:]}")
    machine.must(command, ENGINE=machine.podman, BASE="localhost/debian:12", TRAINYARD_BUILD_DIR=build_directory())
    wait_until(lambda: machine.run("docker version").returncode == 0, 60, "dockerd answers", 0.2)
    machine.ask(f"{machine.podman} save --multi-image-archive {' '.join(IMAGES)} | docker load")


def _inside(machine):
    """Of each node: its programs, the cgroups of jobs, the mounts."""
    found = {}
    for node in NODES:
        container = machine.ask(f"{machine.compose} -f docker/compose.yaml ps -q {node}").strip()
        programs = sorted(machine.ask(f"docker top {container} -eo pid,comm").split()[3::2])
        rest = machine.ask(f"docker exec {container} sh -c 'cd /run/cgroup2/trainyard && find . -mindepth 1 -type d; cut -d\" \" -f5 /proc/self/mountinfo'")
        found[node] = (programs, sorted(rest.split()))
    return found


def _terminated(machine, create, terminate):
    """A job that would run for ever, ended: nothing of it is left on its nodes."""
    before = _inside(machine)
    machine.must(create)
    wait_until(lambda: all("sleep" in programs for programs, _ in _inside(machine).values()), 60, "a rank on each node", 0.5)
    machine.must(terminate)
    state = "docker/trainyard job show -g g -w w -e e -n k --query executionState -o tsv"
    wait_until(lambda: machine.ask(state).strip() == "failed", 60, "the job to end", 0.5)
    idle = "docker/trainyard cluster show -g g -w w -n c --query nodeStateCounts.idleNodeCount -o tsv"
    wait_until(lambda: machine.ask(idle).strip() == "3", 60, "three idle nodes", 0.5)
    after = _inside(machine)
    check(after == before, f"the nodes as they were before: {before}, but: {after}")


def the_page_command_for_command():
    missing = [tool for tool in ("podman", "docker", "dockerd", "docker-compose", "runc", "mmdebstrap", "nsenter") if not shutil.which(tool)]
    if missing:
        _skip(f"not installed: {missing}")
    (build, up, nodes), job, (create, terminate), (down,) = _blocks()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="tydocker-") as folder:
        machine = _Machine(folder)
        try:
            _build(machine, build)
            machine.must(up)
            wait_until(lambda: machine.run(nodes).stdout.count("unassigned") == 3, 60, "three nodes", 0.5)
            outputs = [machine.must(line) for line in job]
            said = re.findall(r"^rank ([0-2]) of 3 on (node[1-3])$", outputs[-1], re.M)
            check(sorted(rank for rank, _ in said) == ["0", "1", "2"] and sorted(node for _, node in said) == NODES, f"a rank on each node: {outputs[-1]}")
            _terminated(machine, create, terminate)
            machine.must(down)
            left = {"containers": machine.ask("docker ps -aq").split(), "volumes": machine.ask("docker volume ls -q").split(),
                    "networks": [name for name in machine.ask("docker network ls --format {{.Name}}").split() if name not in ("host", "none")],
                    "cgroups": machine.cgroups(), "mounts": machine.mounts(), "links": [name for name in machine.links() if name != "lo"]}
            check(not any(left.values()), f"nothing left: {left}")
        finally:
            machine.down()


if __name__ == "__main__":
    main(globals())
