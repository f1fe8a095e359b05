"""A Trainyard cluster on pretend hosts, with the real binaries: one controller (host `head`, where the shares' folder does
not exist) and one agent per node. Used by the end-to-end tests, the quickstart and the benches.

    with Lab(nodes=4) as lab:
        lab.cli("cluster", "create", ...).ok()
        lab.kill_agent("node2"); lab.start_agent("node2")
        lab.cable("node3", "down"); lab.crash("node3"); lab.boot("node3")
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from hosts import LabError, Network, destroy, join_cgroup, program_of, start_time, sweep, tree_pids, wait_until

LABS = os.environ.get("TRAINYARD_LAB_DIR", "/var/tmp")
PREFIX = "tylab-"
CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TUTORIAL_IMAGE = "tensorflow/tensorflow:1.8.0-gpu"
PORT = 7470
PROGRAMS = ["trainyard", "trainyard-agent", "trainyard-container", "trainyard-controller", "trainyard-exec", "trainyard-gpus", "trainyard-rsh", "trainyard-shim",
            "trainyard-tasks"]

# Seconds, not minutes: what a test waits for.
TEST_TIMING = {"heartbeat_ms": 300, "unreachable_after_ms": 2000, "gang_abort_after_ms": 3000, "kill_time_ms": 2000,
               "prepare_limit_ms": 60000}


def build_directory():
    return os.path.abspath(os.environ.get("TRAINYARD_BUILD_DIR", os.path.join(CHECKOUT, "build", "release")))


class Result:
    """What a command answered."""

    def __init__(self, argv, rc, out, err):
        self.argv, self.rc, self.out, self.err = argv, rc, out, err

    def ok(self):
        if self.rc != 0:
            raise LabError(f"`{' '.join(self.argv)}` ended with {self.rc}\nstdout: {self.out}\nstderr: {self.err}")
        return self.out

    def json(self):
        return json.loads(self.ok())

    def failed(self, *words):
        """The error text; LabError when it did not fail or does not say all of `words`."""
        text = self.out + self.err
        missing = [word for word in words if word.lower() not in text.lower()]
        if self.rc == 0 or missing:
            raise LabError(f"`{' '.join(self.argv)}` ended with {self.rc}; expected a failure naming {list(words)}; it said: {text}")
        return text

    def __iter__(self):
        return iter((self.rc, self.out, self.err))


class Lab:
    def __init__(self, nodes=4, gpus=1, flavour="STANDARD_NC6", bin_dir=None, timing=None, fence=False, images=None, name=None,
                 keep=False, start=True, config=None, agent=None, nvml_gpus=None, topology=None):
        """`nvml_gpus`: node → its GPUs as set_gpus() takes them; the agents see them through a stand-in for the driver's library.
        `topology`: node → its place in the operator's tree."""
        self.agent_settings = agent or {}
        self.topology = topology or {}
        self.nodes = [f"node{i + 1}" for i in range(nodes)]
        self.gpus, self.flavour, self.keep = gpus, flavour, keep
        self.nvml_gpus = nvml_gpus
        self.timing = dict(TEST_TIMING if timing is None else timing)
        sweep(LABS, PREFIX)
        self.network = None
        self.processes = {}
        try:
            self.network = Network(os.path.join(LABS, PREFIX + (name or f"{os.getpid()}-{time.monotonic_ns() % 100000}")))
            self.root = self.network.root
            # The hosts have a /tmp of their own; a copy is seen by all, and a rebuild does not change a running lab.
            self._copy_programs(bin_dir or os.path.join(build_directory(), "bin"))
            # Beside the programs: jobs see that directory wherever the lab is, but nothing else of /tmp and /var/tmp.
            shutil.copy(os.path.join(CHECKOUT, "examples", "data", "digits.csv"), os.path.join(self.root, "bin"))
            self.network.add(["head", *self.nodes], head="head")
            self._write_config(fence, images, config or {})
            if nvml_gpus is not None:
                os.mkdir(os.path.join(self.root, "nvml"))
                shutil.copy(os.path.join(build_directory(), "nvml", "new", "libnvidia-ml.so.1"), os.path.join(self.root, "nvml"))
                for node in self.nodes:
                    self.set_gpus(node, nvml_gpus.get(node, []))
            if keep:
                self._mark_kept()
            if start:
                self.start_controller()
                for node in self.nodes:
                    self.start_agent(node, wait=False)
                self.wait_reachable(nodes)
        except BaseException:
            self.down()
            raise

    def _copy_programs(self, bin_dir):
        os.mkdir(os.path.join(self.root, "bin"))
        for program in PROGRAMS:
            if not os.path.exists(os.path.join(bin_dir, program)):
                raise LabError(f"{bin_dir}/{program} is not built (deploy/build builds it; TRAINYARD_BUILD_DIR says where)")
        for program in os.listdir(bin_dir):
            if program.startswith("trainyard"):
                shutil.copy(os.path.join(bin_dir, program), os.path.join(self.root, "bin"))
        libraries = os.path.join(bin_dir, "..", "lib", "trainyard")
        if os.path.isdir(libraries):
            shutil.copytree(libraries, os.path.join(self.root, "lib", "trainyard"))

    # --- configuration

    def _write_config(self, fence, images, extra):
        self.storage = os.path.join(self.root, "storage")
        self.state_dir = os.path.join(self.root, "controller")
        self.controller = f"{self.network.hosts['head'].address}:{PORT}"
        config = {
            "state_dir": self.state_dir, "listen": self.controller, "insecure_lab": True,
            "storage": [{"account": "*", "local": self.storage}],
            "images": images or [{"image": TUTORIAL_IMAGE, "run": "host", "interpreter": "/usr/bin/python3",
                                  "preparation": f'cp {self.root}/bin/digits.csv "$AZ_BATCHAI_JOB_TEMP/"'}],
            "timing": self.timing,
        }
        if fence:
            config["pools"] = {"default": {"fence_command": [self._fence_program()]}}
        config.update(extra)
        self._write_json("controller.json", config)
        for node in self.nodes:
            self._write_json(f"{node}.json", self._agent_config(node))

    def _agent_config(self, node):
        host = self.network.hosts[node]
        return {
            "controller": self.controller, "insecure_lab": True, "node_name": node, "flavour": self.flavour, "pool": "default",
            "address": host.address, "spool_dir": os.path.join(host.folder, "spool"), "work_dir": os.path.join(self.root, "work"),
            # Of what this machine has installed no story must depend.
            "container_runtime": "none", "cgroup_parent": "trainyard", "pretend_gpus": self.gpus, "heartbeat_ms": self.timing.get("heartbeat_ms", 1000),
            "topology": self.topology.get(node, ""), **self.agent_settings,
        }

    def limit_groups(self, node):
        """The groups of cgroup v1 that a node's agent made for jobs (agent/limit_settings.h: group_prefix)."""
        number = 2166136261
        for byte in os.path.join(self.network.hosts[node].folder, "spool").encode():
            number = (number ^ byte) * 16777619 % 2**32
        found = []
        for folder in (f"/sys/fs/cgroup/{controller}" for controller in ("memory", "pids", "cpu", "blkio", "devices", "cpuset")):
            if os.path.isdir(folder):
                found += [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(f"trainyard-{node}-{number:08x}-")]
        return found

    def _write_json(self, name, value):
        with open(os.path.join(self.root, name), "w") as file:
            json.dump(value, file, indent=2)

    def _fence_program(self):
        """Cuts a host's power, as a power distribution unit would: it ends well only when nothing lives there any more."""
        path = os.path.join(self.root, "fence")
        with open(path, "w") as file:
            file.write(f"""#!/bin/sh
# fence NODE
cgroup=$(sed -n 's/.*"cgroup": "\\([^"]*\\)".*/\\1/p' "{self.root}/hosts/$1/boot.json") || exit 1
[ -n "$cgroup" ] || exit 1
echo 1 > "$cgroup/cgroup.kill" || exit 1
n=0
while grep -q 'populated 1' "$cgroup/cgroup.events"; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.02; done
echo "$1" >> "{self.root}/fenced"
""")
        os.chmod(path, 0o755)
        return path

    def _gpus_file(self, node):
        return os.path.join(self.network.hosts[node].folder, "gpus")

    def set_gpus(self, node, gpus):
        """gpus: (uuid, model, memory MiB, used MiB, utilisation %, power mW, temperature °C) each; None: not supported."""
        path = self._gpus_file(node)
        with open(path + ".new", "w") as file:
            file.writelines(" ".join("-" if value is None else str(value) for value in gpu) + "\n" for gpu in gpus)
        os.rename(path + ".new", path)

    def _mark_kept(self):
        path = os.path.join(self.root, "lab.json")
        with open(path) as file:
            state = json.load(file)
        state["keep"] = True
        with open(path, "w") as file:
            json.dump(state, file)

    # --- programs

    def environment(self, host):
        home = os.path.join(self.root, "home")
        return {"PATH": f"{self.root}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8",
                "TRAINYARD_CONTROLLER": self.controller}

    def _spawn(self, host_name, program, *flags):
        host = self.network.hosts[host_name]
        log = open(os.path.join(host.folder, f"{program}.log"), "ab")
        environment = self.environment(host_name)
        if self.nvml_gpus is not None:
            environment.update(LD_LIBRARY_PATH=os.path.join(self.root, "nvml"), TRAINYARD_NVML_FILE=self._gpus_file(host_name))
        with log:
            process = host.start([os.path.join(self.root, "bin", program), *flags], stdout=log, stderr=log, env=environment)
        self.processes[host_name] = process
        return process

    def log_of(self, host_name):
        program = "trainyard-controller" if host_name == "head" else "trainyard-agent"
        path = os.path.join(self.network.hosts[host_name].folder, f"{program}.log")
        return open(path, errors="replace").read() if os.path.exists(path) else ""

    def start_controller(self, wait=True):
        self._spawn("head", "trainyard-controller", "--config", os.path.join(self.root, "controller.json"))
        if wait:
            wait_until(lambda: self._alive("head") and self.cli("node", "list", "-o", "json", "--retry-for", 0).rc == 0, 15,
                       "the controller answers")

    def start_agent(self, node, wait=True):
        self._spawn(node, "trainyard-agent", "--config", os.path.join(self.root, f"{node}.json"))
        if wait:
            self.wait_node(node, "reachable")

    def _alive(self, host_name):
        process = self.processes[host_name]
        if process.poll() is not None:
            raise LabError(f"{host_name}: ended with {process.returncode}: {self.log_of(host_name)[-2000:]}")
        return True

    def controller_pid(self):
        return wait_until(lambda: next(iter(self.network.hosts["head"].pids("trainyard-controller")), None), 5, "the controller's pid")

    def agent_pid(self, node):
        """The agent itself, not one of its helpers: the one whose parent is the nsenter that started it."""
        parent = self.processes[node].pid

        def found():
            return next((pid for pid in self.network.hosts[node].pids("trainyard-agent") if _parent(pid) == parent), None)

        return wait_until(found, 5, f"the agent's pid on {node}")

    def kill_controller(self):
        self._kill("head", self.controller_pid())

    def kill_agent(self, node):
        self._kill(node, self.agent_pid(node))

    def _kill(self, host_name, pid):
        os.kill(pid, signal.SIGKILL)
        self.processes[host_name].wait(timeout=10)

    def restart(self, which):
        """kill -9 of the "controller" or of all "agents", and back at once."""
        if which == "controller":
            self.kill_controller()
            self.start_controller()
        else:
            for node in self.nodes:
                self.kill_agent(node)
                self.start_agent(node, wait=False)

    def stop_agent(self, node):
        os.kill(self.agent_pid(node), signal.SIGTERM)
        self.processes[node].wait(timeout=20)

    def crash(self, node):
        self.network.hosts[node].crash()

    def cable(self, node, state):
        self.network.hosts[node].cable(state)

    def boot(self, node, agent=True):
        """Switches a crashed host on again: new processes, the same disk (spool)."""
        self.network.hosts[node].boot()
        if agent:
            self.start_agent(node, wait=False)

    # --- talking to it

    def cli_process(self, *args, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        head = self.network.hosts["head"]
        environment = {**self.environment("head"), **options.pop("env", {})}
        argv = head.command([os.path.join(self.root, "bin", "trainyard"), *args], ["-n", "-m"])
        directory = options.pop("cwd", None) or self.root
        # nsenter keeps the working directory only when told to; --wd is the folder as the host sees it.
        argv.insert(1, f"--wd={directory}")
        return subprocess.Popen(argv, text=True, env=environment, preexec_fn=join_cgroup(head.cgroup), **options)

    def cli(self, *args, timeout=60, stdin_text=None, **options):
        """Runs `trainyard ARGS` on the head. Result: .rc .out .err .ok() .json() .failed(words...)."""
        args = [str(arg) for arg in args]
        if stdin_text is not None:
            options["stdin"] = subprocess.PIPE
        process = self.cli_process(*args, **options)
        try:
            out, err = process.communicate(stdin_text, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise LabError(f"`trainyard {' '.join(args)}` did not end within {timeout} s; so far: {out}{err}") from None
        return Result(["trainyard", *args], process.returncode, out, err)

    def node(self, name):
        return next((n for n in self.cli("node", "list", "-o", "json").json() if n.get("name") == name), None)

    def wait_node(self, name, state, deadline_s=20):
        """state: "reachable" or "unreachable"."""
        def there():
            found = self.node(name)
            return found is not None and bool(found.get("reachable")) == (state == "reachable")

        wait_until(there, deadline_s, f"{name} is {state}", 0.1)

    def wait_reachable(self, count, deadline_s=30):
        def all_there():
            for node in self.nodes:
                self._alive(node)
            return sum(1 for n in self.cli("node", "list", "-o", "json").json() if n.get("reachable")) >= count

        wait_until(all_there, deadline_s, f"{count} nodes are reachable", 0.1)

    # --- end

    def logs(self, lines=25):
        """The last lines of every program's log, for a failing test."""
        text = []
        for name in ["head", *self.nodes]:
            tail = self.log_of(name).splitlines()[-lines:]
            text.append(f"--- {name}\n" + "\n".join(tail))
        return "\n".join(text)

    def down(self):
        if self.network is None:
            return
        self.network.down()
        # Of hosts that were switched off with a job on them: empty now.
        for group in [group for node in self.nodes if node in self.network.hosts for group in self.limit_groups(node)]:
            os.rmdir(group)
        for process in self.processes.values():
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and kind is not KeyboardInterrupt and os.environ.get("TRAINYARD_LAB_LOGS", "1") != "0":
            print(self.logs(), file=sys.stderr)
        self.down()


def _parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def stop_kept(name):
    """Ends a lab that was made with keep=True. False when there is none."""
    root = os.path.join(LABS, PREFIX + name)
    state = os.path.join(root, "lab.json")
    if not os.path.exists(state):
        return False
    with open(state) as file:
        destroy(root, json.load(file)["cgroup"])
    return True


__all__ = ["CHECKOUT", "Lab", "LabError", "Result", "TEST_TIMING", "TUTORIAL_IMAGE", "build_directory", "program_of", "start_time",
           "stop_kept", "tree_pids", "wait_until"]
