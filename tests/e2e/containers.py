#!/usr/bin/python3
"""Jobs in containers: a real image with Open MPI, a real registry with passwords, podman on two hosts and docker on two, each
with a store of its own; and charliecloud. What the preparation installs is there for the job, mpirun works over four
containers without ssh, digests are pinned, passwords show up nowhere, and nothing is left."""
import atexit
import json
import os
import signal
import subprocess
import sys
import threading

from e2e import SHARE, SKIPPED, Lab, World, check, main, wait_for_go, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "containers"))
from engines import Engine, Registry  # noqa: E402
from images import base_tar, missing_tools, oci_layout, unpacked  # noqa: E402

KINDS = {"node1": "podman", "node2": "podman", "node3": "docker", "node4": "docker"}
# What a preparation installs into the image is root's, as it was in Batch AI's containers: the operator lets this workspace.
AS_ROOT = {"users": [{"workspace": "g/w", "uid": 0, "gid": 0}], "allow_system_users": True}
USER, PASSWORD = "team", "canary-91c4 pass'word"
MEMORY_MB = 500
_made = {}


def _configure(lab, node, **settings):
    path = os.path.join(lab.root, f"{node}.json")
    with open(path) as file:
        config = json.load(file)
    with open(path, "w") as file:
        json.dump({**config, **settings}, file)


class _Site:
    """One lab for all stories: four hosts with engines, a registry with two versions of an image."""

    def __init__(self):
        self.lab = Lab(nodes=4, gpus=2, start=False, config=AS_ROOT, agent={"container_runtime": "auto", "memory_limit_mb": MEMORY_MB, "image_cache_gb": 100})
        atexit.register(self.lab.down)
        self.registry = Registry(self.lab, USER, PASSWORD)
        self.engines = {node: Engine(self.lab, node, kind, self.registry.address).start() for node, kind in KINDS.items()}
        self.layouts = {version: oci_layout(self.lab.root, version) for version in ("one", "two")}
        self.image = self.registry.push(self.layouts["one"], "team/train:1")
        for engine in self.engines.values():
            engine.wait()
        self.lab.start_controller()
        for node in self.lab.nodes:
            # Groups of cgroup v1 are the machine's: each node has its own.
            _configure(self.lab, node, cgroup_parent=f"trainyard/{node}")
            self.lab.start_agent(node, wait=False)
        self.lab.wait_reachable(4)
        self.world = World(self.lab)

    def settings(self, image=None, password=PASSWORD, user=USER):
        """As a user of Batch AI writes it: the image's name, and the registry beside it."""
        name = (image or self.image).removeprefix(self.registry.address + "/")
        return {"imageSourceRegistry": {"image": name, "serverUrl": "http://" + self.registry.address,
                                        "credentials": {"username": user, "password": password}}, "shmSize": "96m"}

    def body(self, image=None, **more):
        return self.world.body(containerSettings=self.settings(image), **more)

    def nothing_left(self):
        """No container, no process, no cgroup, no mount, on any host."""
        for node, engine in self.engines.items():
            wait_until(lambda engine=engine: not engine.containers(), 10, f"no container left on {node}: {engine.containers()}")
            check(not self.world.job_pids(node), f"no process of a job left on {node}")
            mounts = self.lab.network.hosts[node].run(["cat", "/proc/self/mountinfo"]).stdout
            check("/work/jobs/" not in mounts, f"no mount left on {node}: {mounts}")
        left = subprocess.run("find /sys/fs/cgroup -mindepth 4 -maxdepth 4 -path '*/trainyard/node*/*-j*-a*'", shell=True, capture_output=True,
                              text=True, check=False).stdout
        check(not left, f"no group of cgroup v1 left: {left}")


class _Lookout:
    """Reads argument lists and environments of all that runs on the hosts, over and over, while something goes on."""

    def __init__(self, lab, part):
        self.lab, self.part, self.found, self.seen = lab, part.encode(), set(), set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.over.wait(0.02):
            for pid in [pid for host in self.lab.network.hosts.values() for pid in host.pids()]:
                for what in ("cmdline", "environ"):
                    try:
                        with open(f"/proc/{pid}/{what}", "rb") as file:
                            text = file.read()
                    except OSError:
                        continue  # it has ended
                    name = text.split(b"\0")[0].decode(errors="replace") if what == "cmdline" else ""
                    self.seen.add(os.path.basename(name))
                    if self.part in text:
                        self.found.add((pid, what, name))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def _site():
    if "site" not in _made:
        _made["site"] = _Site()
    return _made["site"]


def mpi_over_four_containers():
    """Eight ranks on four hosts, two engines: each in its container, with what the preparation installed there."""
    site = _site()
    world = site.world
    tool = "mkdir -p /opt/tools && printf '#!/bin/bash\\necho tool of %s' \"$TRAINYARD_NODE\" > /opt/tools/tool && chmod +x /opt/tools/tool"
    program = ("from mpi4py import MPI; import os, socket; c = MPI.COMM_WORLD; n = c.allreduce(1); "
               "print('rank', c.rank, 'of', n, 'on', socket.gethostname(), open('/image-version').read().strip(), os.environ['FROM_IMAGE'], "
               "os.popen('tool').read().strip(), os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize >> 20)")
    with _Lookout(site.lab, PASSWORD[:11]) as lookout:  # each node pulls, prepares and runs
        world.create("mpi", site.body(nodes=4, mpi=True, processes=8, command=f'python3 -c "{program}"', preparation=tool)).ok()
        job = world.succeed("mpi", 120)
    check("trainyard-shim" in lookout.seen or "trainyard-agent" in lookout.seen, f"what runs there to be looked at: {lookout.seen}")
    check(not lookout.found, f"no argument list and no environment with the registry's password: {lookout.found}")
    lines = sorted(world.output("mpi").splitlines())
    check(len(lines) == 8, f"a line of each rank: {lines}\n{world.output('mpi', 'stderr.txt')}")
    for rank, line in enumerate(lines):
        node = job["nodes"][rank // 2]
        check(line == f"rank {rank} of 8 on {node} one one tool of {node} 96", f"rank {rank} in its container: {line}")
    check(not os.path.exists("/image-version") and not os.path.exists("/opt/tools/tool"), "nothing of it on the machine itself")
    check(job["imageDigest"].startswith("sha256:"), f"the digest that all nodes ran: {job.get('imageDigest')}")
    for receipt in job["cleanupReceipts"]:
        parts = {part["what"]: part["count"] for part in receipt["parts"]}
        check(parts.get("containers") == 1, f"each node's receipt has its container: {receipt}")
    log = world.output("mpi", f"execution-{job['nodes'][0]}.log")
    check("pulling image" in log and job["imageDigest"] in log, f"the pull in the job's log: {log}")
    site.nothing_left()


def what_cannot_be_pulled():
    """A wrong password and an image that is not there end the job with the engine's words, at once and for good."""
    site = _site()
    world = site.world
    for name, settings, words in (
            ("wrongpw", site.settings(password="canary-91c4 wrong"), ("FailedStartingContainer", "unauthorized", "credentials")),
            ("absent", site.settings(image="team/absent:7"), ("FailedStartingContainer", "team/absent:7", "tag"))):
        world.create(name, world.body(nodes=4, mpi=True, command="true", containerSettings=settings)).ok()
        job = world.wait_end(name)
        text = json.dumps(job["executionInfo"])
        check(job["executionState"] == "failed" and job["requeues"] == 0, f"{name} to fail without a second try: {job}")
        check(all(word.lower() in text.lower() for word in words), f"{name}: {words} in {text}")
    site.nothing_left()


def the_digest_is_pinned():
    """The tag moves while the job runs; its second attempt, on other nodes, runs what the first one did. A new job does not."""
    site = _site()
    world = site.world
    image = site.registry.push(site.layouts["one"], "team/moves:1")
    command = f"cat /image-version >> {SHARE}/versions; " + wait_for_go("pin-go", "pin-started", "$TRAINYARD_ATTEMPT")
    world.create("pinned", site.body(image, nodes=1, command=command)).ok()
    world.wait_file("pin-started.1")
    first = world.job("pinned")
    site.registry.push(site.layouts["two"], "team/moves:1")
    world.create("beside", site.body(image, nodes=3, mpi=True, command="cat /image-version")).ok()
    world.succeed("beside")
    check(set(world.output("beside").split()) == {"two"}, f"a new job to run what the tag means now: {world.output('beside')}")
    host = site.lab.network.hosts[first["nodes"][0]]
    for pid in host.pids("trainyard-shim"):
        os.kill(pid, signal.SIGKILL)
    world.wait_file("pin-started.2")
    world.touch("pin-go")
    job = world.succeed("pinned")
    check(world.read("versions").split() == ["one", "one"], f"both attempts to run the same: {world.read('versions')}")
    check(job["imageDigest"] == first["imageDigest"], "one digest for all attempts")
    site.nothing_left()


def kills_that_a_job_survives():
    """kill -9 of agents and of engines' daemons: the job's processes run on, write on, and their end is known."""
    site = _site()
    world = site.world
    ticks = f"while [ ! -e {SHARE}/kill-go ]; do echo tick; sleep 0.1; done; cat /image-version"
    command = f"touch {SHARE}/kill-started.$OMPI_COMM_WORLD_RANK; {ticks}"
    body = site.body(nodes=4, mpi=True, command=command)
    body["properties"]["recovery"] = {"gangAbortAfter": "PT1M"}  # a busy machine starts an agent late
    world.create("survivor", body).ok()
    for rank in range(4):
        world.wait_file(f"kill-started.{rank}", 60)
    for node in ("node2", "node4"):
        site.engines[node].kill()
    for node in ("node1", "node3"):
        site.lab.kill_agent(node)
    before = len(world.output("survivor"))
    for node in ("node1", "node3"):
        site.lab.start_agent(node)
    wait_until(lambda: len(world.output("survivor")) > before + 200, 20, "output goes on")
    for node in ("node2", "node4"):
        site.engines[node].restart()
    shell = ["job", "node", "exec", *world.at("survivor")[:-2], "-j", "survivor", "-n", "node1", "--exec", "cat /image-version; echo $FROM_IMAGE"]
    wait_until(lambda: site.lab.cli(*shell).rc == 0, 20, "`job node exec` works again", 0.2)
    check(site.lab.cli(*shell).ok().split() == ["one", "one"], f"`job node exec` to be inside: {site.lab.cli(*shell).out}")
    world.touch("kill-go")
    job = world.succeed("survivor")
    check(job["requeues"] == 0 and world.output("survivor").split().count("one") == 4, f"one attempt to its end: {job}")
    site.nothing_left()


def out_of_memory_in_a_container():
    """Found by the job's own cgroup: engines say nothing of it here."""
    site = _site()
    world = site.world
    world.create("big", site.body(nodes=1, command="python3 -c 'x = bytearray(900 << 20); print(len(x))'")).ok()
    job = world.wait_end("big")
    check(job["executionInfo"]["errors"][0]["code"] == "OutOfMemory", f"OutOfMemory: {job['executionInfo']}")
    site.nothing_left()


def gpus_by_cdi():
    """A GPU (of a stand-in driver) is seen inside as its CDI file says; without the file the job says what is missing."""
    with Lab(nodes=1, gpus=0, start=False, agent={"container_runtime": "auto"}, nvml_gpus={"node1": [("GPU-7", "T", 1024, 0, 0, 0, 0)]}) as lab:
        engine = Engine(lab, "node1", "podman", "none.invalid").start()
        engine.wait()
        engine.podman("import", "--quiet", base_tar(), "localhost/plain:1")
        lab.start_controller()
        lab.start_agent("node1")
        world = World(lab)
        settings = {"imageSourceRegistry": {"image": "localhost/plain:1"}}
        world.create("without", world.body(command="true", containerSettings=settings, recovery={"maxRequeues": 0})).ok()
        text = json.dumps(world.wait_end("without"))
        check("nvidia.com/gpu=GPU-7" in text and "nvidia-ctk cdi generate" in text, f"what is missing, and what to do: {text}")
        run = f"/proc/{lab.network.hosts['node1'].pid}/root/run/cdi"
        os.mkdir(run)
        edits = {"deviceNodes": [{"path": "/dev/fuse"}], "env": ["FROM_CDI=GPU-7"]}
        with open(os.path.join(run, "nvidia.json"), "w") as file:
            json.dump({"cdiVersion": "0.4.0", "kind": "nvidia.com/gpu", "devices": [{"name": "GPU-7", "containerEdits": edits}]}, file)
        world.create("with", world.body(command="echo $FROM_CDI $CUDA_VISIBLE_DEVICES; ls /dev/fuse", containerSettings=settings)).ok()
        world.succeed("with")
        check(world.output("with").split() == ["GPU-7", "GPU-7", "/dev/fuse"], f"device and variables: {world.output('with')}")
        check(not engine.containers(), "no container left")


def tasks_and_terminated_jobs():
    """Tasks without mpirun run inside, too; a terminated job leaves no container, however its processes resist."""
    site = _site()
    world = site.world
    with open(os.path.join(world.share, "task.py"), "w") as file:
        file.write("import os\nprint(open('/image-version').read().strip(), os.environ['RANK'], os.environ['WORLD_SIZE'])\n")
    torch = {"pyTorchSettings": {"pythonScriptFilePath": f"{SHARE}/task.py", "processCount": 4, "communicationBackend": "gloo"}}
    world.create("tasks", site.body(nodes=2, **torch)).ok()
    world.succeed("tasks")
    out = [world.output("tasks", f"stdout-{rank}.txt") or world.output("tasks", f"stdout-wk-{rank}.txt") for rank in range(4)]
    check(all(text.startswith("one ") for text in out), f"each task inside: {out}")
    stubborn = f"trap '' TERM; (setsid sleep 1000 &); touch {SHARE}/stubborn; while true; do sleep 1; done"
    world.create("stubborn", site.body(nodes=2, command=stubborn, recovery={"grace": "PT0.3S"})).ok()
    world.wait_file("stubborn")
    world.terminate("stubborn").ok()
    world.wait_end("stubborn")
    site.nothing_left()


def _use_of(site, node, version, ids):
    """The agent's note of when the image was last used, on a node."""
    return os.path.join(site.lab.network.hosts[node].folder, "spool", "pulled", ids[node, version].removeprefix("sha256:"))


def the_cache_has_a_limit():
    """Beyond image_cache_gb the images go that no job used for longest: none in use, none used lately, none of the operator's own."""
    site = _site()
    world, nodes = site.world, ["node1", "node3"]
    for node in KINDS:
        if node not in nodes:
            site.lab.cli("node", "cordon", node, "--reason", "one node of each engine is enough").ok()
        else:
            _configure(site.lab, node, image_cache_gb=1)
            site.lab.kill_agent(node)
            site.lab.start_agent(node)
    names = {version: site.registry.push(oci_layout(site.lab.root, version, filler_mb=150), f"team/{version}:1")
             for version in ("used", "old", "new")}
    ids = {}

    def run(version, command, name=None):
        world.create(name or version, site.body(names[version], resources={"nodes": 2, "gpusPerNode": 1}, nodeCount=None, command=command)).ok()

    def there(node):
        return {image["Id"] if image["Id"].startswith("sha256:") else "sha256:" + image["Id"] for image in site.engines[node].ask("GET", "/images/json")}

    site.engines["node1"].podman("import", "--quiet", base_tar(), "localhost/own:1")
    for version in ("used", "old"):
        before = {node: there(node) for node in nodes}
        run(version, wait_for_go("cache-go", "cache-started") if version == "used" else "true")
        if version == "used":
            world.wait_file("cache-started.0", 120)
            wait_until(lambda: len(site.engines["node1"].containers()) == len(site.engines["node3"].containers()) == 1, 20, "a container on each")
        else:
            world.succeed(version, 120)
        for node in nodes:
            (ids[node, version],) = there(node) - before[node]
            # As if it had been long ago: the one that is in use the longest.
            at = 1_000_000_000 if version == "used" else 1_100_000_000
            os.utime(_use_of(site, node, version, ids), (at, at))
    run("new", "cat /image-version")
    world.succeed("new", 120)
    for node in nodes:
        wait_until(lambda node=node: ids[node, "old"] not in there(node), 30, f"what was used before goes from {node}")
        check(ids[node, "used"] in there(node), f"what is in use stays on {node}")
        check(not os.path.exists(_use_of(site, node, "old", ids)) and os.path.exists(_use_of(site, node, "used", ids)), "the notes follow")
        tags = [tag for image in site.engines[node].ask("GET", "/images/json") for tag in image["RepoTags"] or []]
        check(any("team/new:1" in tag for tag in tags), f"the newest stays on {node}: {tags}")
        check(node != "node1" or "localhost/own:1" in tags, f"the operator's own stays: {tags}")
        check("from the node's cache" in site.lab.log_of(node), f"said in the log of {node}")
    world.touch("cache-go")
    world.succeed("used")
    run("old", "cat /image-version", "again")
    world.succeed("again", 120)
    check(world.output("again").split() == ["old"], f"an image that went is pulled again: {world.output('again')}")
    for node in KINDS:
        if node not in nodes:
            site.lab.cli("node", "uncordon", node).ok()
    site.nothing_left()


def the_password_is_nowhere():
    """Not in the database, spools, logs, answers, argument lists or environments; engines' stores keep none either."""
    site = _site()
    part = "canary-91c4"
    for name in os.listdir(site.lab.root):
        if name.startswith("job-"):
            os.unlink(os.path.join(site.lab.root, name))  # the user's own files
    places = [os.path.join(site.lab.root, name) for name in os.listdir(site.lab.root) if name != "registry"]
    found = subprocess.run(["grep", "-rlaF", "--exclude-dir=overlay", "--exclude-dir=overlay2", "--", part, *places], capture_output=True,
                           text=True, check=False).stdout
    check(not found, f"no file with the password: {found}")
    check(part not in site.lab.cli("job", "show", *site.world.at("mpi"), "-o", "json").ok(), "no answer with the password")


def charliecloud():
    """No engine at all: an unpacked image, a container under our own shim; what the job writes over the image goes with it."""
    with Lab(nodes=1, start=False, config=AS_ROOT) as lab:
        images = os.path.join(lab.root, "images")
        os.mkdir(images)
        unpacked(os.path.join(images, "train+1"))
        _configure(lab, "node1", container_runtime="charliecloud", container_image_dir=images)
        lab.start_controller()
        lab.start_agent("node1")
        world = World(lab)
        settings = {"imageSourceRegistry": {"image": "localhost/train:1"}}
        world.create("j", world.body(nodes=1, mpi=True, processes=2, containerSettings=settings, preparation="echo new > /etc/made-here",
                                     command="cat /image-version /etc/made-here")).ok()
        world.succeed("j")
        check(world.output("j").split().count("unpacked") == 2 and world.output("j").split().count("new") == 2, f"both ranks inside: {world.output('j')}")
        check(not os.path.exists(os.path.join(images, "train+1", "etc", "made-here")), "the image itself as it was")
        check(not world.job_pids("node1"), "nothing left")
        world.create("none", world.body(nodes=1, command="true", containerSettings={"imageSourceRegistry": {"image": "localhost/other"}})).ok()
        check("other" in json.dumps(world.wait_end("none")["executionInfo"]), "an image that is not there is named")


if __name__ == "__main__":
    absent = missing_tools()
    if absent:
        print(f"not installed: {', '.join(absent)} (deploy/install-packages)")
        sys.exit(SKIPPED)
    main(globals())
