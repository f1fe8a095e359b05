"""The virtual machine as the stories see it: a lab of one node (tests/e2e), but by our units, packages and configuration files, with its
controller on the same machine. Everything is several times slower than on a real one: so are the deadlines."""
import json
import os
import shutil
import subprocess
import sys
import types

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
for part in ("e2e", "support/netlab", "support/volumes"):
    sys.path.insert(0, os.path.join(CHECKOUT, "tests", part))
import e2e  # noqa: E402
import hosts  # noqa: E402
from e2e import SHARE, World, check, program, wait_for_go  # noqa: E402,F401
from lab import LabError, Result  # noqa: E402,F401

SLOWER = 10
AGENT, CONTROLLER = "trainyard-agent", "trainyard-controller"
CGROUPS = "/sys/fs/cgroup/trainyard"
WORK = "/var/lib/trainyard/work"
DISK = "/dev/vdc"  # an empty one


def wait_until(predicate, deadline_s=20.0, what="the condition", step_s=0.2):
    return hosts.wait_until(predicate, deadline_s * SLOWER, what, max(step_s, 0.2))


e2e.wait_until = wait_until


def run(*argv, timeout=120, **options):
    """What the command says; LabError when it fails."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, timeout=timeout * SLOWER, **options)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(map(str, argv))}` ended with {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return done.stdout


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


def note(text):
    """A figure for the report."""
    print(f"    {text}", flush=True)


def part(gpus):
    """Of a job's body: so many GPUs of the machine instead of the whole node."""
    return {"resources": {"nodes": 1, "gpusPerNode": gpus}, "nodeCount": None}


def property_of(unit, name):
    return run("systemctl", "show", "-P", name, unit).strip()


class Machine:
    nodes, flavour, root, storage = ["vm"], "STANDARD_NC6", "/var/tmp/stories", "/srv/shares"

    def __init__(self, agent=None, gpus=1, **controller):
        self.agent_settings, self.gpus = agent or {}, gpus
        self.controller_settings = controller
        self.network = types.SimpleNamespace(hosts={"vm": types.SimpleNamespace(cgroup="/sys/fs/cgroup")})

    def __enter__(self):
        for folder in (self.root, self.storage, "/etc/trainyard"):
            os.makedirs(folder, exist_ok=True)
        rest = {"account": "*", "local": self.storage}
        settings = dict(self.controller_settings)
        self.write("controller.json", {"state_dir": "/var/lib/trainyard/controller", "storage": [*settings.pop("storage", []), rest], **settings})
        self.configure()
        # The controller first, as on every machine.
        run("systemctl", "start", CONTROLLER)
        run("systemctl", "start", AGENT)
        self.wait_reachable()
        return self

    def __exit__(self, kind, *_):
        run("systemctl", "stop", AGENT, CONTROLLER)
        if kind is not None:
            _force_away()
        shutil.rmtree("/var/lib/trainyard")
        shutil.rmtree(self.storage)

    def write(self, name, value):
        with open(f"/etc/trainyard/{name}", "w") as file:
            json.dump(value, file)

    def configure(self, **more):
        self.agent_settings.update(more)
        self.write("agent.json", {"flavour": self.flavour, "node_name": "vm", "pretend_gpus": self.gpus, "container_runtime": "none",
                                  **self.agent_settings})

    def cli(self, *args, timeout=60, **_):
        argv = ["trainyard", *map(str, args)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout * SLOWER, stdin=subprocess.DEVNULL)
        return Result(argv, done.returncode, done.stdout, done.stderr)

    def node(self):
        return self.cli("node", "show", "-n", "vm", "-o", "json").json()

    def wait_reachable(self):
        wait_until(lambda: any(n.get("reachable") for n in json.loads(self.cli("node", "list", "-o", "json").out or "[]")), 30, "the node is reachable")


def _force_away():
    """What a story that failed has left: its processes and mounts."""
    for name in os.listdir(CGROUPS) if os.path.isdir(CGROUPS) else []:
        if os.path.isdir(os.path.join(CGROUPS, name)):
            with open(os.path.join(CGROUPS, name, "cgroup.kill"), "w") as file:
                file.write("1")
    for line in reversed(mounts()):
        subprocess.run(["umount", "-l", line.split()[1]], check=False)


def holdings():
    """The cgroups of jobs (not of volumes) that are there."""
    return [name for name in os.listdir(CGROUPS) if os.path.isdir(os.path.join(CGROUPS, name)) and name not in ("volumes", "exec")]


def holding():
    [name] = holdings()
    return os.path.join(CGROUPS, name)


def mounts():
    """Lines of /proc/self/mounts of volumes and jobs."""
    return [line for line in read("/proc/self/mounts").splitlines() if WORK + "/" in line]


def nothing_left(world):
    """No cgroup, mount, directory or process of a job or a volume."""
    world.wait_idle(world.target, 60)
    wait_until(lambda: not holdings(), 20, f"no holding's cgroup is left: {holdings()}")
    wait_until(lambda: not mounts(), 20, f"no mount is left: {mounts()}")
    volumes = os.path.join(CGROUPS, "volumes")
    wait_until(lambda: not os.path.isdir(volumes) or not [n for n in os.listdir(volumes) if os.path.isdir(os.path.join(volumes, n))], 20, "no volume's cgroup is left")
    check(not os.listdir(os.path.join(WORK, "jobs")), f"no directory of a job left: {os.listdir(os.path.join(WORK, 'jobs'))}")
    check(not world.job_pids("vm"), f"no process of a job left: {world.job_pids('vm')}")
