"""What the end-to-end tests share: a cluster ready for jobs, jobs that wait for a file before they go on, and the runner.

A test file defines functions; `main(globals())` runs them in their order and prints how long each took. Arguments choose
some by name. Jobs are steered by files on the share (`go`), never by sleeping and hoping.
"""
import inspect
import json
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "netlab"))
from lab import CHECKOUT, Lab, LabError, build_directory, wait_until  # noqa: E402,F401

SHARE = "$AZ_BATCHAI_JOB_MOUNT_ROOT/s"
SKIPPED = 77  # ctest's word for: not here


def check(condition, what):
    if not condition:
        raise LabError(f"expected {what}")


class World:
    """A lab with group g, workspace w, experiment x, cluster c, account a and share s."""

    def __init__(self, lab, target=None):
        os.umask(0)  # what a test puts on the share, jobs may change: they run as a user of their own
        self.lab = lab
        self.target = len(lab.nodes) if target is None else target
        cli = lab.cli
        cli("group", "create", "-n", "g").ok()
        cli("workspace", "create", "-g", "g", "-n", "w").ok()
        cli("experiment", "create", "-g", "g", "-w", "w", "-n", "x").ok()
        cli("cluster", "create", "-g", "g", "-w", "w", "-n", "c", "--vm-size", lab.flavour, "--target", self.target).ok()
        cli("storage", "account", "create", "-g", "g", "-n", "a").ok()
        cli("storage", "share", "create", "-n", "s", "--account-name", "a").ok()
        # As an operator would see it: the lab's own view, which neither controller nor command line has.
        self.share = os.path.join(lab.storage, "a", "s")
        self.wait_idle(self.target)

    # --- cluster

    def cluster(self):
        return self.lab.cli("cluster", "show", "-g", "g", "-w", "w", "-n", "c", "-o", "json").json()

    def wait_idle(self, count, deadline_s=20):
        wait_until(lambda: self.cluster()["nodeStateCounts"]["idleNodeCount"] == count, deadline_s, f"{count} idle nodes", 0.05)

    def resize(self, target, *more):
        return self.lab.cli("cluster", "resize", "-g", "g", "-w", "w", "-n", "c", "-t", target, *more)

    # --- jobs

    def body(self, nodes=1, command=None, mpi=False, processes=None, recovery=None, preparation=None, variables=None, **more):
        properties = {
            "nodeCount": nodes,
            "stdOutErrPathPrefix": SHARE + "/logs",
            "mountVolumes": {"azureFileShares": [{"azureFileUrl": "https://a.file.core.windows.net/s", "relativeMountPath": "s"}]},
        }
        if command is not None:
            settings = {"commandLine": command}
            if processes:
                settings["processCount"] = processes
            properties["customMpiSettings" if mpi else "customToolkitSettings"] = settings
        if recovery:
            properties["recovery"] = recovery
        if preparation:
            properties["jobPreparation"] = {"commandLine": preparation}
        if variables:
            properties["environmentVariables"] = [{"name": k, "value": v} for k, v in variables.items()]
        properties.update(more)
        return {"properties": properties}

    def create(self, name, body, *flags, cluster="c", workspace="w"):
        """Runs `job create` with this body (a dict, or the file's text)."""
        path = os.path.join(self.lab.root, f"job-{name}.json"[:200])
        with open(path, "w") as file:
            file.write(body if isinstance(body, str) else json.dumps(body))
        return self.lab.cli("job", "create", "-g", "g", "-w", workspace, "-e", "x", "-n", name, "-c", cluster, "-f", path, *flags)

    def submit(self, name, **body):
        self.create(name, self.body(**body)).ok()

    def at(self, name):
        return ["-g", "g", "-w", "w", "-e", "x", "-n", name]

    def job(self, name):
        return self.lab.cli("job", "show", *self.at(name), "-o", "json").json()

    def state(self, name):
        return self.job(name)["executionState"]

    def wait_for(self, name, *states, deadline_s=40):
        """Waits until the job's executionState (or phase) is one of these; returns the job."""
        seen = {}

        def there():
            seen.update(self.job(name))
            return seen["executionState"] in states or seen["phase"] in states

        try:
            wait_until(there, deadline_s, "", 0.05)
        except LabError:
            raise LabError(f"{name} is not {' or '.join(states)} within {deadline_s} s: {seen.get('executionState')} "
                           f"({seen.get('phase')}): {seen.get('reason')}; {seen.get('executionInfo')}") from None
        return dict(seen)

    def wait_end(self, name, deadline_s=60):
        return self.wait_for(name, "succeeded", "failed", deadline_s=deadline_s)

    def succeed(self, name, deadline_s=60):
        job = self.wait_end(name, deadline_s)
        check(job["executionState"] == "succeeded", f"{name} to succeed, but: {job['executionInfo']} {job['reason']}\n{self.output(name, 'stderr.txt')}")
        return job

    def terminate(self, name, *flags):
        return self.lab.cli("job", "terminate", *self.at(name), "-y", *flags)

    def output(self, name, file="stdout.txt"):
        """A job's file, read the way an operator could: from the directory behind the share."""
        segment = self.job(name)["jobOutputDirectoryPathSegment"]
        path = os.path.join(self.share, "logs", segment or "none", "stdouterr", file)
        return open(path, errors="replace").read() if os.path.exists(path) else ""

    def stream(self, name, file="stdout.txt", **options):
        return self.lab.cli_process("job", "file", "stream", "-g", "g", "-w", "w", "-e", "x", "-j", name, "-f", file, **options)

    # --- steering by files

    def touch(self, name):
        with open(os.path.join(self.share, name), "w"):
            pass

    def wait_file(self, name, deadline_s=30):
        wait_until(lambda: os.path.exists(os.path.join(self.share, name)), deadline_s, f"the job makes {name} on the share")

    def read(self, name):
        with open(os.path.join(self.share, name)) as file:
            return file.read()

    # --- what runs on the nodes

    def job_pids(self, node):
        """Processes below the job part of a node's cgroup tree: payloads, not agents, shims or init."""
        cgroup = os.path.join(self.lab.network.hosts[node].cgroup, "trainyard")
        found = []
        for folder, _, _ in os.walk(cgroup):
            try:
                with open(os.path.join(folder, "cgroup.procs")) as file:
                    found += [int(line) for line in file]
            except OSError:
                continue
        return [pid for pid in found if pid > 0 and program(pid) not in ("trainyard-agent", "trainyard-shim")]


def program(pid):
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def wait_for_go(file="go", started="started", rank="${OMPI_COMM_WORLD_RANK:-0}"):
    """A command line that says it started (a file per rank), waits for `file` on the share, and goes on."""
    return (f'touch {SHARE}/{started}.{rank}; while [ ! -e {SHARE}/{file} ]; do sleep 0.05; done; ')


def beats(directory="beats"):
    """A rank that leaves a time stamp ten times a second under its attempt's name, until `go` is there."""
    return (f'mkdir -p {SHARE}/{directory}; touch {SHARE}/started.$OMPI_COMM_WORLD_RANK; '
            f'while [ ! -e {SHARE}/go ]; do date +%s.%N >> {SHARE}/{directory}/$TRAINYARD_ATTEMPT.$OMPI_COMM_WORLD_RANK; sleep 0.1; done')


def one_attempt_at_a_time(world, directory="beats"):
    """Checks the time stamps of `beats`: no attempt overlaps another. Returns how many attempts there were."""
    spans = {}
    folder = os.path.join(world.share, directory)
    for name in os.listdir(folder):
        attempt = name.rsplit(".", 1)[0]
        with open(os.path.join(folder, name)) as file:
            times = [float(line) for line in file.read().split() if "." in line]
        if times:
            low, high = spans.get(attempt, (times[0], times[-1]))
            spans[attempt] = (min(low, times[0]), max(high, times[-1]))
    ordered = sorted(spans.values())
    for (_, end), (start, _) in zip(ordered, ordered[1:]):
        check(start > end, f"attempts one after the other, but one began {end - start:.2f} s before the other's last sign of life")
    return len(ordered)


def main(module):
    """Runs the functions of a test file whose names are public and that were written there."""
    if os.geteuid() != 0:
        print("needs root for pretend hosts")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mine = [f for n, f in module.items() if inspect.isfunction(f) and f.__module__ == module["__name__"] and not n.startswith("_")]
    chosen = [f for f in mine if not sys.argv[1:] or f.__name__ in sys.argv[1:]]
    if not chosen:
        sys.exit(f"no such test; there are: {', '.join(f.__name__ for f in mine)}")
    failed = 0
    for test in chosen:
        started = time.monotonic()
        try:
            test()
            print(f"ok      {test.__name__}  {time.monotonic() - started:.1f} s", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"FAILED  {test.__name__}  {time.monotonic() - started:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
