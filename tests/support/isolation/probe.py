#!/usr/bin/python3
"""Runs inside a job and tries to get out of it: prints "name<TAB>outcome" per attempt, where the outcome begins with
"refused" or "ALLOWED". Its arguments are "name=value" pairs of what the test knows about the machine outside.
"""
import ctypes
import errno
import glob
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
KNOWN = dict(word.split("=", 1) for word in sys.argv[1:])
CLONE = {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000}
SYS = {"bpf": 321, "kexec_load": 246, "init_module": 175, "keyctl": 250, "perf_event_open": 298, "pivot_root": 155, "setns": 308,
       "open_by_handle_at": 304, "userfaultfd": 323, "process_vm_readv": 310, "open_tree": 428, "move_mount": 429, "clone3": 435,
       "request_key": 249, "iopl": 172, "swapon": 167, "acct": 163, "syslog": 103}


class Allowed(Exception):
    pass


def call(result, what="it worked"):
    """A C function's result: an error is a refusal."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    raise Allowed(f"{what}: {result}")


def syscall(name, *args):
    call(libc.syscall(SYS[name], *[ctypes.c_long(a) if isinstance(a, int) else a for a in args]))


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))
    raise Allowed(f"opened {path}")


def written(path, text):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())
    raise Allowed(f"wrote to {path}")


def listed(path):
    names = os.listdir(path)
    if names:
        raise Allowed(f"{path} has {names[:3]}")
    return f"{path} is empty"


def in_child(function):
    """In a process of its own: the attempt may change it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
            text = "refused: nothing happened"
        except Allowed as allowed:
            text = f"ALLOWED: {allowed}"
        except OSError as error:
            text = f"refused: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    text = os.read(reader, 4096).decode()
    os.waitpid(pid, 0)
    if not text.startswith("refused"):
        raise Allowed(text[len("ALLOWED: "):])
    return text[len("refused: "):]


def processes_of_others():
    mine = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{entry}/cmdline") as file:
            mine.add(file.read().split("\0")[0].rsplit("/", 1)[-1])
    outside = [name for name in mine if name in ("trainyard-agent", "catatonit", "trainyard-controller") or name == KNOWN["victim"]]
    if outside:
        raise Allowed(f"sees {outside}")
    return f"sees only {sorted(mine)}"


def environment_of_others():
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if KNOWN["secret"].encode() in file.read():
                    raise Allowed(f"{path} has the secret")
        except PermissionError:
            continue
    return "no process with it"


def kill_by_number():
    os.kill(int(KNOWN["victim_pid"]), signal.SIGCONT)
    raise Allowed("signalled a process outside")


def ptrace(pid):
    call(libc.ptrace(16, pid, 0, 0), f"attached to {pid}")


def setuid_program():
    out = subprocess.run([KNOWN["setuid_shell"], "-p", "-c", "id -u"], capture_output=True, text=True)
    if out.stdout.strip() == "0" and os.getuid() != 0:
        raise Allowed("a setuid program ran as root")
    return f"it ran as {out.stdout.strip()}{out.stderr.strip()}"


def capabilities():
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    most = int(KNOWN["capabilities"], 16)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16) & ~most:
            raise Allowed(f"{name} is {status[name]}")
    if status["NoNewPrivs"].strip() != "1":
        raise Allowed("new privileges")
    return f"bounded by {status['CapBnd']}"


def limits():
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise Allowed("core files")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    except (ValueError, OSError) as error:
        return str(error)
    raise Allowed("raised a hard limit")


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raise Allowed("a raw socket")


def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raise Allowed("a packet socket")


def mknod():
    os.mknod(os.environ["AZ_BATCHAI_JOB_TEMP"] + "/disk", 0o600 | 0o060000, os.makedev(8, 0))
    raise Allowed("made a device")


def shared_memory():
    if os.path.exists("/dev/shm/" + KNOWN["secret"]):
        raise Allowed("sees another's /dev/shm")
    ctypes.set_errno(0)
    call(libc.shmget(int(KNOWN["shm_key"]), 4096, 0), "another's segment")


def cgroup_escape():
    procs = glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)
    for path in procs:
        try:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
            raise Allowed(f"moved into {path}")
        except OSError:
            continue
    return f"none of {len(procs)}"


def cgroup_child():
    for folder in glob.glob("/sys/fs/cgroup/*") + ["/sys/fs/cgroup"]:
        try:
            os.mkdir(folder + "/escape")
            raise Allowed(f"made a cgroup in {folder}")
        except OSError:
            continue
    return "nowhere"


def disks():
    for entry in os.scandir("/dev"):
        if os.path.exists(f"/sys/class/block/{entry.name}"):
            try:
                opened(entry.path)
            except OSError:
                continue
    return "no disk can be opened"


def clock():
    call(libc.clock_settime(0, struct.pack("qq", int(time.time()), 0)), "set the clock")


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    raise Allowed(f"connected to {path}")


def agents_key():
    for path in (KNOWN["run_dir"] + "/sealing.key", KNOWN["config"]):
        if os.path.exists(path):
            opened(path)
    return "not there"


def keep_what_is_hidden():
    os.stat(KNOWN["other_job"])
    raise Allowed("another job's directory is there")


ATTEMPTS = {
    "setuid(0)": lambda: in_child(lambda: call(libc.setuid(0))),
    "setgroups": lambda: in_child(lambda: call(libc.setgroups(1, struct.pack("I", 0)))),
    "setuid program": setuid_program,
    "capabilities, new privileges": capabilities,
    "core files, hard limits": limits,
    "nice": lambda: os.nice(-5),
    "mount": lambda: call(libc.mount(b"x", b"/mnt", b"tmpfs", 0, None)),
    "unmount": lambda: call(libc.umount2(b"/proc", 2)),
    "bind mount": lambda: call(libc.mount(b"/etc", b"/mnt", None, 4096, None)),
    "open_tree": lambda: syscall("open_tree", -100, b"/", 1),
    "user namespace": lambda: in_child(lambda: call(libc.unshare(CLONE["user"]))),
    "user namespace by clone": lambda: in_child(lambda: call(libc.syscall(56, CLONE["user"] | signal.SIGCHLD, 0, 0, 0, 0))),
    "clone3": lambda: in_child(lambda: syscall("clone3", 0, 0)),
    "mount namespace": lambda: in_child(lambda: call(libc.unshare(CLONE["mount"]))),
    "network namespace": lambda: in_child(lambda: call(libc.unshare(CLONE["net"]))),
    "setns to pid 1": lambda: syscall("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
    "chroot": lambda: in_child(lambda: call(libc.chroot(b"/tmp"))),
    "pivot_root": lambda: syscall("pivot_root", b"/tmp", b"/tmp"),
    "mknod": mknod,
    "disks": disks,
    "/dev/mem": lambda: opened("/dev/mem"),
    "/dev/kmsg": lambda: opened("/dev/kmsg", os.O_WRONLY),
    "raw socket": raw_socket,
    "packet socket": packet_socket,
    "bpf": lambda: syscall("bpf", 0, struct.pack("IIII", 1, 4, 4, 1) + b"\0" * 112, 128),
    "perf_event_open": lambda: syscall("perf_event_open", struct.pack("II", 1, 112) + b"\0" * 104, 0, -1, -1, 0),
    "userfaultfd": lambda: syscall("userfaultfd", 0),
    "keyctl": lambda: syscall("keyctl", 0, -3, 1),
    "request_key": lambda: syscall("request_key", b"user", b"x", 0, -3),
    "kexec_load": lambda: syscall("kexec_load", 0, 0, 0, 0),
    "init_module": lambda: syscall("init_module", b"", 0, b""),
    "open_by_handle_at": lambda: syscall("open_by_handle_at", -100, b"\0" * 16, 0),
    "iopl": lambda: syscall("iopl", 3),
    "swapon": lambda: syscall("swapon", b"/etc/passwd", 0),
    "acct": lambda: syscall("acct", b"/tmp/acct"),
    "kernel log": lambda: syscall("syslog", 3, ctypes.create_string_buffer(64), 64),
    "clock": clock,
    "host name": lambda: call(libc.sethostname(b"x", 1)),
    "ptrace of pid 1": lambda: in_child(lambda: ptrace(1)),
    "memory of pid 1": lambda: opened("/proc/1/mem"),
    "root of pid 1": lambda: listed("/proc/1/root"),
    "processes of others": processes_of_others,
    "environment of others": environment_of_others,
    "kill by number": kill_by_number,
    "core_pattern": lambda: written("/proc/sys/kernel/core_pattern", "|/tmp/x"),
    "sysrq": lambda: written("/proc/sysrq-trigger", "h"),
    "sysfs": lambda: written("/sys/kernel/mm/transparent_hugepage/enabled", "always"),
    "cgroup escape": cgroup_escape,
    "cgroup of its own": cgroup_child,
    "shared memory of others": shared_memory,
    "another's /tmp": lambda: opened("/tmp/" + KNOWN["secret"]),
    "another's /var/tmp": lambda: opened("/var/tmp/" + KNOWN["secret"]),
    "another job's directory": keep_what_is_hidden,
    "the agent's spool": lambda: listed(KNOWN["spool"]),
    "the agent's keys": agents_key,
    "another's socket": lambda: connect(KNOWN["run_dir"] + "/other.socket"),
    "another share": lambda: listed(KNOWN["other_share"]),
}


def main():
    for name, attempt in ATTEMPTS.items():
        try:
            outcome = f"refused: {attempt()}"
        except Allowed as allowed:
            outcome = f"ALLOWED: {allowed}"
        except OSError as error:
            outcome = f"refused: {errno.errorcode.get(error.errno, error)}"
        print(f"{name}\t{outcome}", flush=True)


if __name__ == "__main__":
    main()
