"""Jobs in containers of docker and podman on cgroup v2, from a registry on the same machine: the container's cgroup is the job's, its limits are
kept, and nothing is left. The image is a shell and a few programs of the machine's own."""
import json
import os
import subprocess
import tarfile

from machine import AGENT, SHARE, Machine, World, check, holding, note, nothing_left, read, run, wait_until

REGISTRY = "127.0.0.1:5000"
IMAGE = "small:1"
MEMORY_MB = 128
PROGRAMS = ["bash", "cat", "sleep", "touch", "head", "tr", "id", "env", "mkdir", "hostname"]
DOCKER = "/etc/docker/daemon.json"
PODMAN = "/etc/containers/containers.conf"


def _write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def _root_files():
    """PROGRAMS and the libraries that they name."""
    paths = {run("which", program).strip() for program in PROGRAMS}
    for path in list(paths):
        paths |= {word for word in run("ldd", path).split() if word.startswith("/")}
    return paths


def _tar(path):
    with tarfile.open(path, "w") as tar:
        for name in ("tmp", "var/tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in name else 0o755
            tar.addfile(entry)
        for file in sorted(_root_files()):
            tar.add(os.path.realpath(file), arcname=file.lstrip("/"))
        for name, target in (("bin", "usr/bin"), ("usr/bin/sh", "bash")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)


def _docker(driver):
    _write(DOCKER, json.dumps({"exec-opts": [f"native.cgroupdriver={driver}"], "bridge": "none", "iptables": False}))
    run("systemctl", "restart", "docker", timeout=12)
    note(f"docker with the cgroup driver {driver}")


def _podman(manager):
    _write(PODMAN, f'[engine]\ncgroup_manager = "{manager}"\n')
    _write("/etc/containers/registries.conf", f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    # Not by its socket: in an emulated machine podman takes longer to start than an agent waits for an answer.
    subprocess.run(["systemctl", "stop", "podman-served"], capture_output=True, check=False)
    os.makedirs("/run/podman", exist_ok=True)
    run("systemd-run", "-q", "--unit=podman-served", "podman", "system", "service", "--time=0", "unix:///run/podman/podman.sock")
    wait_until(lambda: subprocess.run(["podman", "--url", "unix:///run/podman/podman.sock", "version"], capture_output=True, check=False).returncode == 0, 8, "podman answers")


def _registry():
    """With the image, as docker makes and pushes it."""
    if os.path.exists("/srv/small.tar"):
        return
    _write("/srv/registry.yml", f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /srv/registry\nhttp:\n  addr: {REGISTRY}\n")
    run("systemd-run", "-q", "--unit=registry", "docker-registry", "serve", "/srv/registry.yml")
    _docker("cgroupfs")
    _tar("/srv/small.new")
    run("docker", "import", "/srv/small.new", f"{REGISTRY}/{IMAGE}", timeout=12)
    wait_until(lambda: subprocess.run(["docker", "push", f"{REGISTRY}/{IMAGE}"], capture_output=True, check=False).returncode == 0, 8, "the registry takes the image")
    run("docker", "rmi", f"{REGISTRY}/{IMAGE}", timeout=12)
    os.rename("/srv/small.new", "/srv/small.tar")


def _body(world, **more):
    source = {"imageSourceRegistry": {"image": IMAGE, "serverUrl": "http://" + REGISTRY}}
    return world.body(containerSettings=source, **more)


def _runs(kind, containers):
    with Machine(agent={"container_runtime": kind, "memory_limit_mb": MEMORY_MB, "process_limit": 100}) as machine:
        world = World(machine)
        command = f"echo from $(id -u) in $FROM; touch {SHARE}/up; until [ -e {SHARE}/go ]; do sleep 0.2; done; ls / || echo no ls here"
        world.create("j", _body(world, command=command, variables={"FROM": kind})).ok()
        job = world.wait_for("j", "running", "failed", deadline_s=15)
        check(job["executionState"] == "running", f"the container to start: {job['executionInfo']}")
        world.wait_file("up", 10)
        group = holding()
        pids = world.job_pids("vm")
        check(pids and all(read(f"/proc/{pid}/cgroup").startswith("0::" + group.removeprefix("/sys/fs/cgroup") + "/") for pid in pids), f"the container in the job's cgroup: {[read(f'/proc/{pid}/cgroup') for pid in pids]}")
        check(read(group + "/job/memory.max") == f"{MEMORY_MB << 20}\n" and read(group + "/job/pids.max") == "100\n", "its limits")
        run("systemctl", "restart", AGENT)
        machine.wait_reachable()
        check(world.state("j") == "running", "the job to run on")
        world.touch("go")
        job = world.succeed("j", 60)
        check(world.output("j") == f"from {job['runAs'].split(':')[0]} in {kind}\nno ls here\n", f"what it said: {world.output('j')}")
        nothing_left(world)
        check(not containers(), f"no container left: {containers()}")
        world.create("big", _body(world, command="x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo ${#x}")).ok()
        error = world.wait_end("big", 60)["executionInfo"]["errors"][0]
        check(error["code"] == "OutOfMemory", f"OutOfMemory: {error}")
        note(error["message"])
        nothing_left(world)
        check(not containers(), f"no container left: {containers()}")


def _refused(kind, words):
    with Machine(agent={"container_runtime": kind}) as machine:
        runtime = machine.node()["containerRuntime"]
        check(runtime.startswith("none: ") and words in runtime, f"what to set: {runtime}")
        note(runtime)


def by_docker():
    """With the cgroup driver of systemd, docker's default here, the node says what to set; with the other one jobs run."""
    _registry()
    _docker("systemd")
    _refused("docker", "native.cgroupdriver=cgroupfs")
    _docker("cgroupfs")
    _runs("docker", lambda: run("docker", "ps", "-aq").split())


def by_podman():
    """The same with podman's manager."""
    _registry()
    _podman("systemd")
    _refused("podman", 'cgroup_manager = "cgroupfs"')
    _podman("cgroupfs")
    _runs("podman", lambda: run("podman", "ps", "-aq").split())
