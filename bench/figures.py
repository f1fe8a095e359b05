"""The figures of bench/run that need no pretend hosts: the core alone, and a controller on loopback. See hosts_figures.py
for the others. Each group is a function (bin, quick) -> {json key: value}."""
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time


class Controller:
    """A controller on a free loopback port, its database on disk (not on a tmpfs) in a directory that goes with it."""

    def __init__(self, bin_dir):
        self.bin, self.process = bin_dir, None
        self.root = tempfile.mkdtemp(prefix="trainyard-bench-", dir=os.environ.get("TRAINYARD_BENCH_DIR", "/var/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        with open(os.path.join(self.root, "controller.json"), "w") as file:
            json.dump({"state_dir": os.path.join(self.root, "state"), "listen": self.address,
                       "storage": [{"account": "*", "local": os.path.join(self.root, "storage")}]}, file)

    def start(self):
        with open(os.path.join(self.root, "log"), "ab") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "trainyard-controller"), "--config", os.path.join(self.root, "controller.json")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        host, port = self.address.split(":")
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the controller did not start: {open(os.path.join(self.root, 'log')).read()[-2000:]}") from None
                time.sleep(0.01)

    def client(self, *arguments, experiment="bench"):
        """Runs submit_bench; what it printed, parsed."""
        argv = [os.path.join(self.bin, "submit_bench"), "--controller", self.address, "--experiment", experiment, *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def core(bin_dir, quick):
    done = subprocess.run([os.path.join(bin_dir, "core_bench")], capture_output=True, text=True, check=True, timeout=600)
    return json.loads(done.stdout)


def submit(bin_dir, quick):
    rates = {}
    for in_flight in (1, 64, 256):
        with Controller(bin_dir) as controller:  # a new database for each
            controller.client("rate", "--in-flight", in_flight, "--time-ms", 300, experiment="warmup")
            measured = controller.client("rate", "--in-flight", in_flight, "--time-ms", 1000 if quick else 4000)
            rates[str(in_flight)] = round(measured["per_s"], 1)
    return {"submit_durable_per_s": rates}


def cli(bin_dir, quick):
    with Controller(bin_dir) as controller:
        controller.client("rate", "--jobs", 1)  # makes the group, workspace, experiment, cluster, account and share
        path = os.path.join(controller.root, "job.json")
        with open(path, "w") as file:
            json.dump({"properties": {
                "nodeCount": 1, "customToolkitSettings": {"commandLine": "true"}, "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/s/logs",
                "mountVolumes": {"azureFileShares": [{"azureFileUrl": "https://bench.file.core.windows.net/logs", "relativeMountPath": "s"}]}}}, file)
        environment = {**os.environ, "TRAINYARD_CONTROLLER": controller.address}
        times = []
        for number in range(5 if quick else 30):
            argv = [os.path.join(bin_dir, "trainyard"), "job", "create", "-g", "bench", "-w", "bench", "-e", "bench", "-c", "bench",
                    "-n", f"cli{number}", "-f", path, "--storage-account-name", "bench"]
            begin = time.monotonic()
            subprocess.run(argv, env=environment, check=True, capture_output=True)
            times.append((time.monotonic() - begin) * 1000)
    return {"cli_create_ms": round(statistics.median(times), 2)}


@contextlib.contextmanager
def agents(bin_dir, controller, count):
    """So many simulated agents that report every 5 s, in a process of their own; yields it."""
    swarm = subprocess.Popen([os.path.join(bin_dir, "submit_bench"), "--controller", controller.address, "swarm", "--agents", str(count),
                              "--every-ms", "5000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if swarm.stdout.readline().strip() != "connected":
            raise RuntimeError("the simulated agents did not connect")
        yield swarm
    finally:
        swarm.stdin.close()
        swarm.wait(timeout=60)


def busy(bin_dir, quick):
    """What 10,000 agents that report every 5 s, and 100 submits a second beside them, cost the controller."""
    def cpu_seconds(pid):
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    percent = {}
    with Controller(bin_dir) as controller, agents(bin_dir, controller, 1000 if quick else 10000) as swarm:
        controller.client("rate", "--jobs", 1)
        time.sleep(6)  # a round of reports
        for name, submits in (("agents", 0), ("agents_and_submits", 100)):
            begin, before, seconds = time.monotonic(), cpu_seconds(controller.process.pid), 3 if quick else 20
            for second in range(seconds):
                if submits:
                    controller.client("rate", "--jobs", submits, "--in-flight", 8)
                time.sleep(max(0, begin + second + 1 - time.monotonic()))
            percent[name] = round(100 * (cpu_seconds(controller.process.pid) - before) / (time.monotonic() - begin), 1)
        if swarm.poll() is not None:
            raise RuntimeError("the simulated agents are gone")
    return {"busy_cpu_percent": percent}


def rss(bin_dir, quick):
    with Controller(bin_dir) as controller:
        with agents(bin_dir, controller, 1000) as swarm:
            queued = controller.client("queue", "--jobs", 10000, "--in-flight", 64)["acknowledged"]
            time.sleep(2 if quick else 12)  # two rounds of reports: what they need is part of the figure
            if queued != 10000 or swarm.poll() is not None:
                raise RuntimeError(f"{queued} jobs queued, agents {'gone' if swarm.poll() is not None else 'there'}")
            with open(f"/proc/{controller.process.pid}/status") as status:
                kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return {"rss_mb": round(kilobytes / 1024, 1)}


def lost(bin_dir, quick):
    missing = 0
    for _ in range(1 if quick else 5):
        with Controller(bin_dir) as controller:
            acknowledged = controller.client("lose", "--jobs", 200, "--in-flight", 64, "--kill-pid", controller.process.pid)
            controller.process.wait(timeout=10)
            if len(acknowledged) != 200 or controller.process.returncode != -9:
                raise RuntimeError(f"{len(acknowledged)} acknowledged, controller ended with {controller.process.returncode}")
            controller.start()
            missing += len(set(acknowledged) - set(controller.client("list")))
    return {"lost_acknowledged": missing}


GROUPS = {"core": core, "submit": submit, "cli": cli, "rss": rss, "busy": busy, "lost": lost}

from hosts_figures import HOST_GROUPS  # noqa: E402

GROUPS.update(HOST_GROUPS)
