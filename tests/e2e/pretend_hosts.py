#!/usr/bin/python3
"""The pretend hosts themselves: what the other tests stand on."""
import subprocess
import sys

from e2e import check, main, os, wait_until
from hosts import Network, cgroup2_root, sweep
from lab import LABS, PREFIX


def _root(name):
    return os.path.join(LABS, f"{PREFIX}self-{os.getpid()}-{name}")


def _reaches(host, address, port=9):
    """Whether a packet comes back: a refusal is an answer, too."""
    script = f"import socket; s = socket.socket(); s.settimeout(1); print(s.connect_ex(('{address}', {port})))"
    return host.run(["/usr/bin/python3", "-c", script]).stdout.strip() == "111"


def separate_machines():
    network = Network(_root("a"))
    try:
        network.add(["head", "node1", "node2"], head="head")
        one, two = network.hosts["node1"], network.hosts["node2"]
        check(one.run(["hostname"]).stdout == "node1\n", "a name of its own")
        check(one.run(["cat", "/proc/self/cgroup"]).stdout.splitlines()[-1] == "0::/", "a cgroup tree of its own")
        check(one.run(["sh", "-c", "echo x > /tmp/x; ls /tmp"]).stdout == "x\n" and two.run(["ls", "/tmp"]).stdout == "", "a /tmp of its own")
        check(one.run(["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).stdout.strip() in ("2", "3", "4"), "processes of its own")
        check(_reaches(one, "node2") and _reaches(two, "head"), "a network between them")
        one.cable("down")
        check(not _reaches(two, "node1"), "nothing through a cut cable")
        one.cable("up")
        check(_reaches(two, "node1"), "everything through a mended one")
    finally:
        network.down()
    check(not os.path.exists(network.root) and not os.path.exists(network.cgroup), "nothing left")
    network.down()  # once more does no harm


def power_cut():
    network = Network(_root("b"))
    try:
        network.add(["node1", "node2"])
        host = network.hosts["node1"]
        daemon = host.start(["sh", "-c", "trap '' TERM; (setsid sleep 1000 &) ; mount -t tmpfs x /mnt; sleep 1000"])
        wait_until(lambda: len(host.pids("sleep")) == 2, 5, "two sleepers")
        host.crash()
        daemon.wait()
        check(host.pids() == [], "all processes of the host to be gone")
        host.boot()
        check(_reaches(network.hosts["node2"], "node1"), "the host to be back")
        check("/mnt" not in host.run(["cat", "/proc/self/mounts"]).stdout.split(), "no mount of the old life")
    finally:
        network.down()


def killed_owner():
    """A test that is killed leaves a lab behind; the next one removes it."""
    root = _root("c")
    script = ("import sys; sys.path[:0] = [p for p in sys.argv[2:]]\nfrom hosts import Network\n"
              "n = Network(sys.argv[1]); n.add(['node1']); print('up', flush=True)\nimport signal; signal.pause()")
    owner = subprocess.Popen([sys.executable, "-c", script, root, *sys.path], stdout=subprocess.PIPE, text=True)
    check(owner.stdout.readline() == "up\n", "a lab")
    sweep(LABS, PREFIX)
    check(os.path.exists(root), "a lab whose owner lives to stay")
    owner.kill()
    owner.wait()
    sweep(LABS, PREFIX)
    left = [name for name in os.listdir(cgroup2_root()) if name.startswith(os.path.basename(root))]
    check(not os.path.exists(root) and not left, f"nothing left of it: {left}")


if __name__ == "__main__":
    main(globals())
