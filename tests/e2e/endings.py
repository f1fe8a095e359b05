#!/usr/bin/python3
"""Jobs that end in every way there is, one after the other, each waiting for the GPUs of the one before: whenever a job begins,
nothing of its predecessor is left on any node; and every receipt says what it took. `endings.py 1000` makes so many (50 else)."""
import signal
import subprocess
import sys

from e2e import CHECKOUT, SHARE, Lab, World, check, main, os, program, wait_until

COUNT = next((int(word) for word in sys.argv[1:] if word.isdigit()), 50)
sys.argv[1:] = [word for word in sys.argv[1:] if not word.isdigit()]
MEMORY_MB = 96

# What each job leaves lying about, whatever its end: a segment, a file in memory, temporary files, a listener.
MESS = ("ipcmk -M 4096 >/dev/null; echo x > /dev/shm/mess; mkdir /tmp/mess; touch /tmp/mess/f /var/tmp/f $AZ_BATCHAI_JOB_TEMP/f; ")
DAEMON = "(setsid bash -c 'trap \"\" TERM HUP INT; while :; do sleep 1000; done' >/dev/null 2>&1 &) ; "
GROW = "python3 -c 'x = bytearray(300 << 20)'; sleep 1000"

# name → what each rank does after the start; its end (None: by itself); how many processes at least are killed on each node.
KINDS = {
    "success": ("exit 0", None, 0),
    "failure": ("exit 7", None, 0),
    "terminate": ("sleep 1000", "terminate", 1),
    "oom": (f"if [ $OMPI_COMM_WORLD_RANK = 1 ]; then {GROW}; fi; sleep 1000", None, 1),
    "mpirun-killed": ("sleep 1000", "kill", 0),
    "daemon": (DAEMON + "exit 0", None, 1),
    "stopped": ("(setsid bash -c 'kill -STOP $$; sleep 1000' >/dev/null 2>&1 &) ; exit 0", None, 1),
    "dead-mount": ("if [ $TRAINYARD_NODE = node1 ]; then cat $AZ_BATCHAI_JOB_MOUNT_ROOT/dead/hang; fi; sleep 1000", "hung", 1),
}


class DeadMount:
    """A file system that stops answering, on node1 (which need not be where rank 0 runs). The abort is armed: its server ends after two minutes."""

    def __init__(self, lab, place):
        self.host = lab.network.hosts["node1"]
        self.place = place
        os.makedirs(self.place, exist_ok=True)
        argv = ["/usr/bin/python3", os.path.join(CHECKOUT, "tests", "support", "isolation", "silent_fuse.py"), self.place, "120"]
        self.server = self.host.start(argv, stdout=subprocess.PIPE, text=True)
        check(self.server.stdout.readline() == "mounted\n", "a FUSE mount")

    def wait_asked(self):
        check(self.server.stdout.readline() == "asked\n", "a process that hangs on it")

    def end_server(self):
        """With it the connection ends."""
        for pid in self.host.pids():
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    line = file.read()
            except OSError:
                continue  # it has ended meanwhile
            if f"silent_fuse.py\0{self.place}\0" in line and program(pid).startswith("python"):
                os.kill(pid, signal.SIGKILL)
        self.server.wait()

    def end(self):
        self.end_server()
        self.host.run(["umount", "-l", self.place])


def _holding(number):
    return f"-j{number}-a"


def _left(lab, node, present):
    """What is on the node of any job but the present one (its holding's name part; None: of all)."""
    host = lab.network.hosts[node]
    found = []

    def of_others(names):
        return [name for name in names if "-j" in name and "-a" in name and (present is None or present not in name)]

    found += [("cgroup", n) for n in of_others(os.listdir(os.path.join(host.cgroup, "trainyard")))]
    found += [("limit", n) for n in of_others(lab.limit_groups(node))]
    found += [("directory", n) for n in of_others(os.listdir(os.path.join(host.folder, "work", "jobs")))]
    run = f"/proc/{host.pid}/root/run/trainyard"
    found += [("run", n) for n in of_others(os.listdir(run) if os.path.exists(run) else [])]
    with open(f"/proc/{host.pid}/mountinfo") as mounts:
        found += [("mount", n) for n in of_others(line.split()[4] for line in mounts)]
    for pid in host.pids():
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            with open(f"/proc/{pid}/cgroup") as file:
                group = file.read()
        except OSError:
            continue
        if (uid >= 20000 or of_others([group])) and (present is None or present not in group):
            found.append(("process", program(pid), uid, group.splitlines()[-1]))
    found += [("shm", n) for n in os.listdir(f"/proc/{host.pid}/root/dev/shm")]
    found += [("segment", line) for line in host.run(["ipcs", "-m"]).stdout.splitlines() if line.startswith("0x")]
    found += [("tmp", n) for n in os.listdir(f"/proc/{host.pid}/root/tmp") if n == "mess"]
    return found


def _submit(world, number, kind):
    command = MESS + f"touch {SHARE}/up.{number}.$OMPI_COMM_WORLD_RANK; " \
        f"while [ ! -e {SHARE}/go.{number} ]; do sleep 0.05; done; " + KINDS[kind][0]
    more = {}
    if kind == "dead-mount":
        more["mountVolumes"] = {"azureFileShares": [
            {"azureFileUrl": f"https://a.file.core.windows.net/{share}", "relativeMountPath": share} for share in ("s", "dead")]}
    world.submit(f"j{number}", nodes=len(world.lab.nodes), mpi=True, command=command, recovery={"grace": "PT1S"}, **more)


def _end(world, number, kind, dead):
    """Brings it about, and returns the job when it is reported ended."""
    world.touch(f"go.{number}")
    end = KINDS[kind][1]
    if end == "hung":
        dead.wait_asked()
    if end in ("terminate", "hung"):
        world.terminate(f"j{number}").ok()
    if end == "kill":
        for node in world.lab.nodes:
            for pid in world.lab.network.hosts[node].pids():
                if program(pid) in ("orterun", "mpirun", "mpirun.openmpi"):
                    os.kill(pid, signal.SIGKILL)
    job = world.wait_end(f"j{number}", 60)
    if dead:
        dead.end()
    return job


def _check_receipts(world, job, kind):
    receipts = job["cleanupReceipts"]
    check(len(receipts) == len(world.lab.nodes), f"a receipt of each node: {receipts}")
    for receipt in receipts:
        parts = {part["what"]: part["count"] for part in receipt["parts"]}
        check({"processes", "sharedMemory", "ports", "mounts", "temporaryFiles", "directories"} <= set(parts), f"all parts: {parts}")
        check(parts["processes"] >= KINDS[kind][2], f"{kind}: processes that were killed: {parts}")
        check(parts["sharedMemory"] >= 1 and parts["mounts"] >= 1 and parts["temporaryFiles"] >= 3 and parts["directories"] >= 4, f"{kind}: {parts}")


EXPECTED = {"success": "succeeded", "daemon": "succeeded", "stopped": "succeeded"}


def endings():
    kinds = list(KINDS)
    seen = {}
    with Lab(nodes=2, agent={"memory_limit_mb": MEMORY_MB}) as lab:
        world = World(lab)
        lab.cli("storage", "share", "create", "-n", "dead", "--account-name", "a").ok()
        dead = {}

        def submit(number):
            kind = kinds[number % len(kinds)]
            if kind == "dead-mount":
                dead[number] = DeadMount(lab, os.path.join(lab.storage, "a", "dead"))
            _submit(world, number, kind)

        submit(0)
        before = None
        for number in range(COUNT):
            kind = kinds[number % len(kinds)]
            for rank in range(len(lab.nodes)):
                world.wait_file(f"up.{number}.{rank}", 60)
            here = world.job(f"j{number}")
            # It has the GPUs of its predecessor: now, at the latest, nothing of that one may be there.
            left = {node: _left(lab, node, _holding(here["number"])) for node in lab.nodes}
            check(not any(left.values()), f"nothing of {before} left when the next job has begun: {left}")
            if number + 1 < COUNT:
                submit(number + 1)
            job = _end(world, number, kind, dead.pop(number, None))
            check(job["executionState"] == EXPECTED.get(kind, "failed"), f"{kind}: {job['executionInfo']} {job['reason']}")
            if kind == "oom":
                check(job["executionInfo"]["errors"][0]["code"] == "OutOfMemory", f"OutOfMemory: {job['executionInfo']}")
            check(job["attempt"] == 1, f"{kind}: one attempt: {job}")
            _check_receipts(world, job, kind)
            seen.setdefault(kind, []).append(max(r["tookMs"] for r in job["cleanupReceipts"]))
            before = f"j{number} ({kind})"
        wait_until(lambda: not any(_left(lab, node, None) for node in lab.nodes), 10,
                   f"nothing left after the last: { {node: _left(lab, node, None) for node in lab.nodes} }")
    print(f"    {COUNT} endings, 0 processes, mounts, segments, directories or cgroups left; clean-up in ms, median and most:")
    for kind, took in seen.items():
        print(f"    {kind}: {len(took)} times, {sorted(took)[len(took) // 2]}, {max(took)}")


def stuck():
    """A process that nothing ends: an alarm in the job, its timeline and the node, which works on; when it ends, all goes on."""
    hung = "python3 -c 'import os; os.open(\"{}\", os.O_RDONLY)'"
    with Lab(nodes=2) as lab:
        world = World(lab)
        # Not below the job's place: nothing of the job's may be aborted for it.
        node, outside = lab.nodes[0], "/mnt"
        dead = DeadMount(lab, outside)
        try:
            world.submit("j", nodes=2, mpi=True, command=f"[ $TRAINYARD_NODE != {node} ] || {hung.format(outside + '/hang')}; sleep 1000")
            dead.wait_asked()
            world.terminate("j", "--no-wait").ok()
            wait_until(lambda: "ALARM" in (world.job("j")["reason"] or ""), 30, "an alarm in job show")
            reason = world.job("j")["reason"]
            check(node in reason and "python3" in reason and "state D" in reason and "request_wait_answer" in reason, f"which process, and in what: {reason}")
            shown = str(lab.node(node))
            check("ALARM" in shown, f"at the node: {shown}")
            timeline = lab.cli("job", "timeline", *world.at("j"), "-o", "json")
            check("ALARM" in timeline.out, f"in the timeline: {timeline.out[-500:]}{timeline.err}")
            # The other node is free again, and works.
            world.submit("next", nodes=1, command="echo fine")
            world.succeed("next")
            check(world.state("j") == "terminating", "the job to wait for its node")
        finally:
            dead.end()
        world.wait_end("j", 30)
        world.submit("last", nodes=2, mpi=True, command="true")
        world.succeed("last")


if __name__ == "__main__":
    main(globals())
