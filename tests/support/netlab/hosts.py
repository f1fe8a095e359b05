"""Pretend hosts on one machine: each has its own network, PID, mount, UTS, IPC and cgroup namespaces, its own /run and
/tmp, HOME and cgroup subtree. They hang on one bridge in a namespace of its own; the machine's own network is not touched.

Nothing has a global name (no /run/netns entries): namespaces live as long as their processes, and all processes are in one
cgroup, so `Network.down()` is: kill the cgroup, remove it. Killing a host's PID 1 is a power cut; `cable` is the switch port.
"""
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time


class LabError(RuntimeError):
    pass


def wait_until(predicate, deadline_s=20.0, what="the condition", step_s=0.02):
    """Polls until predicate() is true and returns its value; LabError after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not within {deadline_s} s: {what}")
        time.sleep(step_s)


def cgroup2_root():
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            left, right = line.split(" - ", 1)
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    raise LabError("no cgroup2 mount on this machine")


def free_subnet():
    """A /24 that no route of this machine uses. The hosts' networks are separate anyway: this keeps addresses unambiguous."""
    routes = json.loads(subprocess.run(["ip", "-j", "-4", "route", "show", "table", "all"], capture_output=True, check=True).stdout or "[]")
    used = []
    for route in routes:
        try:
            used.append(ipaddress.ip_network(route["dst"], strict=False))
        except ValueError:
            continue  # "default"
    for third in range(256):
        candidate = ipaddress.ip_network(f"10.{77 + third // 128}.{third}.0/24")
        if not any(candidate.overlaps(other) for other in used):
            return candidate
    raise LabError("no free 10.x.y.0/24 on this machine")


def tree_pids(cgroup):
    """Every process in the cgroup or below it, as this process's pids."""
    found = []
    for folder, _, files in os.walk(cgroup):
        if "cgroup.procs" in files:
            try:
                with open(os.path.join(folder, "cgroup.procs")) as procs:
                    found += [int(line) for line in procs]
            except OSError:
                continue  # removed meanwhile
    return [pid for pid in found if pid > 0]


def kill_cgroup(cgroup):
    """Kills everything in it and waits until it is empty."""
    if not os.path.isdir(cgroup):
        return
    killer = os.path.join(cgroup, "cgroup.kill")

    def empty():
        if os.path.exists(killer):
            with open(killer, "w") as file:
                file.write("1")
        else:
            for pid in tree_pids(cgroup):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return not tree_pids(cgroup)

    wait_until(empty, 15, f"{cgroup} is empty")


def remove_cgroup(cgroup):
    for folder, _, _ in os.walk(cgroup, topdown=False):
        wait_until(lambda folder=folder: _rmdir(folder), 5, f"{folder} can be removed")


def _rmdir(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def join_cgroup(cgroup):
    """For preexec_fn: the child starts in `cgroup`, in a session of its own."""

    def join():
        with open(os.path.join(cgroup, "cgroup.procs"), "w") as file:
            file.write(str(os.getpid()))
        os.setsid()

    return join


# Runs as PID 1 of a host, then becomes the init that reaps. $1 name, $2 lab root, $3 cgroup2 mount point, $4 /etc/hosts.
# Host-private folders appear under the same path on every host, as they would on real machines.
HOST_SCRIPT = r"""
set -e
hostname "$1"
mount -t proc proc /proc
mount --bind "$4" /etc/hosts
umount "$3"   # the machine's view; the kernel refuses a second one on top of it
mount -t cgroup2 cgroup2 "$3"
mount --bind "$2/hosts/$1/work" "$2/work"
mount --bind "$2/hosts/$1/home" "$2/home"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
case "$2" in /tmp/*) ;; *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;; esac
: > "$2/hosts/$1/up"
exec catatonit -P
"""

# The controller's host: the shares' folder does not exist there.
HEAD_SCRIPT = r"""
set -e
hostname "$1"
mount --bind "$4" /etc/hosts
mount -t tmpfs -o mode=755 tmpfs "$2/storage"
mount -o remount,ro "$2/storage"
: > "$2/hosts/$1/up"
exec sleep infinity
"""


class Host:
    """One pretend machine. `pid` is its PID 1 (None while it is off), `cgroup` its subtree; both change at every boot."""

    def __init__(self, network, index, name, head=False):
        self.network, self.index, self.name, self.head = network, index, name, head
        self.address = str(network.subnet.network_address + 10 + index)
        self.boots, self.pid, self.cgroup, self._process = 0, None, None, None
        self.folder = os.path.join(network.root, "hosts", name)
        for sub in ("work", "home", "spool"):
            os.makedirs(os.path.join(self.folder, sub), exist_ok=True)

    def boot(self):
        if self.pid:
            raise LabError(f"{self.name} is on already")
        self.boots += 1
        self.cgroup = os.path.join(self.network.cgroup, f"{self.name}.{self.boots}")
        os.mkdir(self.cgroup)
        up = os.path.join(self.folder, "up")
        if os.path.exists(up):
            os.unlink(up)
        spaces = ["--net", "--uts", "--ipc", "--mount", "--propagation", "private"]
        if not self.head:
            spaces += ["--pid", "--cgroup", "--fork", "--kill-child=SIGKILL"]
        argv = ["unshare", *spaces, "--", "/bin/bash", "-c", HEAD_SCRIPT if self.head else HOST_SCRIPT, "host", self.name,
                self.network.root, self.network.cgroup2, self.network.hosts_file]
        with open(os.path.join(self.folder, "console"), "ab") as console:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                             preexec_fn=join_cgroup(self.cgroup))
        wait_until(lambda: os.path.exists(up) or self._process.poll() is not None, 10, f"{self.name} boots")
        if self._process.poll() is not None:
            raise LabError(f"{self.name} did not boot: " + open(os.path.join(self.folder, "console")).read()[-500:])
        self.pid = self._process.pid if self.head else wait_until(lambda: _only_child(self._process.pid), 5, "its PID 1")
        self._plug_in()
        with open(os.path.join(self.folder, "boot.json"), "w") as file:
            json.dump({"pid": self.pid, "cgroup": self.cgroup, "port": self.port, "address": self.address, "boots": self.boots}, file)

    def _plug_in(self):
        self.port = f"p{self.index}b{self.boots}"
        mac = f"02:54:59:00:00:{self.index:02x}"  # the same at every boot: neighbours need not forget the old one
        self.network.switch_batch([f"link add {self.port} type veth peer name eth0 address {mac} netns {self.pid}",
                                   f"link set {self.port} master br0 up"])
        self.network.batch(self.pid, ["link set lo up", f"address add {self.address}/24 dev eth0", "link set eth0 up"])

    def command(self, argv, namespaces=None):
        """The argv that runs `argv` inside this host."""
        if namespaces is None:
            namespaces = ["-n", "-m", "-u", "-i"] + ([] if self.head else ["-p", "-C"])
        if not self.pid:
            raise LabError(f"{self.name} is off")
        return ["nsenter", "-t", str(self.pid), *namespaces, "--", *argv]

    def start(self, argv, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(argv), preexec_fn=join_cgroup(self.cgroup), **options)

    def run(self, argv, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(argv), preexec_fn=join_cgroup(self.cgroup), capture_output=True, text=True, **options)

    def pids(self, program=None):
        """Pids (of the lab's own pid namespace) of what runs here; only of the named program when one is given."""
        if not self.cgroup:
            return []
        return [pid for pid in tree_pids(self.cgroup) if program is None or program_of(pid) == program]

    def crash(self):
        """Power cut: PID 1 is killed, and with it every process and mount of the host."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.gone()

    def gone(self):
        """Waits until nothing of this host lives any more (also when somebody else killed it)."""
        wait_until(lambda: not tree_pids(self.cgroup), 10, f"{self.name} is off")
        self._process.wait()
        self.pid = None

    def cable(self, state):
        """The switch port of this host goes "down" or "up"."""
        self.network.switch_batch([f"link set {self.port} {state}"])


def program_of(pid):
    """Base name of the program a process runs; "" when it is gone or a kernel thread."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
    except OSError:
        return ""


def _only_child(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            words = file.read().split()
    except OSError:
        words = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return int(words[0]) if words else None


class Network:
    """The switch and its hosts. `root` is a new folder; everything is below it and below one cgroup."""

    def __init__(self, root):
        os.makedirs(os.path.dirname(root), exist_ok=True)
        os.mkdir(root, 0o755)  # fails when the name is taken
        self.root, self.hosts = root, {}
        self.cgroup2 = cgroup2_root()
        self.cgroup = os.path.join(self.cgroup2, f"{os.path.basename(root)}.{os.getpid()}")
        for folder in ("storage", "work", "home", "hosts"):
            os.mkdir(os.path.join(root, folder))
        self.hosts_file = os.path.join(root, "etc-hosts")
        self._switch = None
        try:
            os.mkdir(self.cgroup)
            with open(os.path.join(root, "lab.json"), "w") as file:
                json.dump({"owner": os.getpid(), "owner_started": start_time(os.getpid()), "cgroup": self.cgroup}, file)
            self.subnet = free_subnet()
            self._start_switch()
        except BaseException:
            self.down()
            raise

    def _start_switch(self):
        own = os.path.join(self.cgroup, "switch")
        os.mkdir(own)
        self._switch = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"], preexec_fn=join_cgroup(own),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mine = os.readlink("/proc/self/ns/net")
        wait_until(lambda: program_of(self._switch.pid) == "sleep" and os.readlink(f"/proc/{self._switch.pid}/ns/net") != mine,
                   5, "the switch's namespace")
        self.switch_batch(["link add br0 type bridge forward_delay 0", "link set br0 up", "link set lo up"])

    def add(self, names, head=None):
        """Makes and boots hosts. `head` names the one that runs the controller."""
        for name in names:
            self.hosts[name] = Host(self, len(self.hosts) + 1, name, head=name == head)
        with open(self.hosts_file, "w") as file:
            file.write("127.0.0.1 localhost\n" + "".join(f"{h.address} {h.name}\n" for h in self.hosts.values()))
        for name in names:
            self.hosts[name].boot()

    def batch(self, pid, lines):
        done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input="\n".join(lines) + "\n",
                              capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"ip: {lines}: {done.stderr.strip()}")

    def switch_batch(self, lines):
        self.batch(self._switch.pid, lines)

    def down(self):
        """Stops and removes everything; may be called again."""
        destroy(self.root, self.cgroup)
        for process in [self._switch] + [host._process for host in self.hosts.values()]:
            if process:
                process.wait()


def start_time(pid):
    """Field 22 of /proc/PID/stat; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return None


def destroy(root, cgroup):
    """Kills what is in the cgroup, removes it and the folder."""
    kill_cgroup(cgroup)
    remove_cgroup(cgroup)
    with open("/proc/self/mountinfo") as mounts:
        inside = [line.split()[4] for line in mounts if line.split()[4].startswith(root + "/")]
    if inside:
        raise LabError(f"{inside} are mounted on this machine: not removing {root}")
    shutil.rmtree(root, ignore_errors=True)


def sweep(parent, prefix):
    """Removes labs under `parent` whose owner died without cleaning up."""
    if not os.path.isdir(parent):
        return
    for name in os.listdir(parent):
        state = os.path.join(parent, name, "lab.json")
        if not name.startswith(prefix) or not os.path.exists(state):
            continue
        try:
            with open(state) as file:
                found = json.load(file)
        except ValueError:
            continue  # being written
        if not found.get("keep") and start_time(found["owner"]) != found["owner_started"]:
            destroy(os.path.join(parent, name), found["cgroup"])
