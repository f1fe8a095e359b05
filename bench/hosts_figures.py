"""The figures of bench/run on pretend hosts, with the real agents. Each group is a function (bin, quick) -> {key: value}."""
import os
import shutil
import statistics
import subprocess
import time

import images
from engines import Engine
from e2e import LabError, World, beats, wait_until
from lab import Lab

# What the product's own configuration says, but for the loss of a node, which is measured with a test's patience.
TIMING = {"heartbeat_ms": 1000, "unreachable_after_ms": 10000, "gang_abort_after_ms": 60000}
RSH_PORT = 7999


class Bench:
    """A lab with a cluster of all its nodes, and the bench's programs on its hosts."""

    def __init__(self, bin_dir, nodes, start=True):
        if os.geteuid() != 0:
            raise LabError("pretend hosts need root")
        self.lab = Lab(nodes=nodes, bin_dir=bin_dir, timing=TIMING, start=start, agent={"container_runtime": "auto"})
        try:
            for program in ("job_bench", "trivial_rsh"):
                shutil.copy(os.path.join(bin_dir, program), os.path.join(self.lab.root, "bin"))
            if start:
                self.world = World(self.lab)
        except BaseException:
            self.lab.down()
            raise

    def begin(self):
        """Of a lab that was not started: when its hosts have what they need."""
        self.lab.start_controller()
        for node in self.lab.nodes:
            self.lab.start_agent(node)
        self.world = World(self.lab)

    def program(self, name):
        return os.path.join(self.lab.root, "bin", name)

    def jobs(self, command, *flags):
        """Runs job_bench on the controller's host; the numbers it printed."""
        done = self.lab.network.hosts["head"].run([self.program("job_bench"), "--controller", self.lab.controller, command, *map(str, flags)],
                                                  timeout=400)
        if done.returncode != 0:
            raise LabError(done.stderr.strip())
        return [float(word) for word in done.stdout.strip().strip("[]").split(",")]

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        self.lab.__exit__(kind, *rest)


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def jobs(bin_dir, quick):
    with Bench(bin_dir, 8) as bench:
        bench.jobs("first-line", "--count", 3, "--prefix", "warm")
        lines = bench.jobs("first-line", "--count", 10 if quick else 100, "--prefix", "first")
        per_second = bench.jobs("drain", "--count", 40 if quick else 400, "--experiment", _experiment(bench, "drain"))[0]
    return {"first_line_ms": {"p50": round(statistics.median(lines), 2), "p99": round(percentile(lines, 0.99), 2)},
            "jobs_per_s": round(per_second, 1)}


def _experiment(bench, name):
    bench.lab.cli("experiment", "create", "-g", "g", "-w", "w", "-n", name).ok()
    return name


def gang(bin_dir, quick):
    """Ours and bare mpirun take turns, so that what else the machine does hits both."""
    with Bench(bin_dir, 4) as bench:
        hosts = [bench.lab.network.hosts[name] for name in bench.lab.nodes]
        for host in hosts[1:]:
            host.start([bench.program("trivial_rsh"), "--serve", str(RSH_PORT)])
            wait_until(lambda host=host: host.run(["/bin/bash", "-c", f"exec 3<>/dev/tcp/{host.address}/{RSH_PORT}"]).returncode == 0, 10,
                       f"trivial_rsh on {host.name}")
        ours, bare = [], []
        for turn in range(3 if quick else 15):
            one = bench.jobs("first-line", "--nodes", 4, "--mpi", "--prefix", f"gang{turn}")[0]
            other = _bare_mpirun(bench, hosts)
            if turn > 0:  # the first fills caches
                ours.append(one)
                bare.append(other)
    mine, theirs = statistics.median(ours), statistics.median(bare)
    return {"gang_first_line_ms": round(mine, 1), "gang_bare_ms": round(theirs, 1), "gang_ratio": round(mine / theirs, 3)}


def _bare_mpirun(bench, hosts):
    """ms from the start of mpirun to its first line of output: the same line and parameters as Trainyard's."""
    network = str(bench.lab.network.subnet)
    parameters = {"plm": "rsh", "plm_rsh_agent": bench.program("trivial_rsh"), "plm_rsh_no_tree_spawn": "1", "plm_rsh_num_concurrent": "1024",
                  "orte_keep_fqdn_hostnames": "1", "oob_tcp_if_include": network, "btl_tcp_if_include": network,
                  "oob_tcp_disable_ipv6_family": "1", "btl_tcp_disable_family": "6", "btl": "self,vader,tcp", "pml": "ob1"}
    argv = ["mpirun", "--allow-run-as-root", "--stdin", "none", "-np", str(len(hosts)), "-H", ",".join(f"{h.address}:1" for h in hosts),
            "--map-by", "ppr:1:node", "--bind-to", "none", "--leave-session-attached"]
    for name, value in parameters.items():
        argv += ["--mca", name, value]
    environment = {**bench.lab.environment(hosts[0].name), "TRIVIAL_RSH_PORT": str(RSH_PORT)}
    begin = time.monotonic()
    process = hosts[0].start([*argv, "bash", "-c", "echo hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    line = process.stdout.readline()
    took = (time.monotonic() - begin) * 1000
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0 or line != b"hello\n":
        raise LabError(f"bare mpirun ended with {process.returncode}: {errors.decode(errors='replace')[-500:]}")
    return took


def container(bin_dir, quick):
    """A job's first line with an image that is on the node, beside `podman run` of it there, in turns."""
    if images.missing_tools():
        raise LabError(f"not installed: {images.missing_tools()}")
    with Bench(bin_dir, 1, start=False) as bench:
        engine = Engine(bench.lab, "node1", "podman", "none.invalid").start()
        engine.wait()
        image = "localhost/bench:1"
        engine.podman("import", "--quiet", images.base_tar(), image)
        bench.begin()
        ours, host, bare = [], [], []
        for turn in range(3 if quick else 12):
            one = bench.jobs("first-line", "--image", image, "--prefix", f"in{turn}")[0]
            other = bench.jobs("first-line", "--prefix", f"out{turn}")[0]
            begin = time.monotonic()
            engine.podman("run", "--rm", "--network=host", "--uts=host", image, "bash", "-c", "echo hello")
            if turn > 0:  # the first fills caches
                ours.append(one)
                host.append(other)
                bare.append((time.monotonic() - begin) * 1000)
    mine, theirs = statistics.median(ours), statistics.median(bare)
    return {"container_first_line_ms": round(mine, 1), "container_without_ms": round(statistics.median(host), 1),
            "container_podman_ms": round(theirs, 1), "container_ratio": round(mine / theirs, 3)}


def follow(bin_dir, quick):
    with Bench(bin_dir, 1) as bench:
        delays = bench.jobs("follow", "--count", 20 if quick else 100, "--prefix", "follow")
    return {"follow_ms": round(statistics.median(delays), 2)}


def node(bin_dir, quick):
    """A host of a running four-node job loses power (its port first: nobody is told); a fifth takes its place once it is fenced."""
    with Lab(nodes=5, bin_dir=bin_dir, fence=True) as lab:
        world = World(lab)
        world.submit("j", nodes=4, mpi=True, command=beats(), recovery={"lease": "PT1H"})
        for rank in range(4):
            world.wait_file(f"started.{rank}")
        world.wait_for("j", "running")
        lost = world.job("j")["nodes"][1]
        lab.cable(lost, "down")
        lab.network.hosts[lost].crash()
        died = time.monotonic()
        lab.wait_node(lost, "unreachable", 60)
        noticed = time.monotonic() - died

        def again():
            job = world.job("j")
            return job["attempt"] == 2 and job["phase"] == "running"

        wait_until(again, 120, "the job runs again", 0.05)
        restarted = time.monotonic() - died
    return {"noticed_s": round(noticed, 2), "restart_s": round(restarted, 2)}


HOST_GROUPS = {"jobs": jobs, "gang": gang, "container": container, "follow": follow, "node": node}
