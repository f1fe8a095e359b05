#!/usr/bin/python3
"""Quotas of workspaces and jobs that give way: limits, guaranteed numbers, notice before the end."""
import os

from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

# Writes a checkpoint when it is told that its time is up, and goes on from it the next time.
CHECKPOINTS = """import os, signal, sys, time
share = os.environ["AZ_BATCHAI_JOB_MOUNT_ROOT"] + "/s/"
def told(*_):
    open(share + "checkpoint.new", "w").write("step 41")
    os.rename(share + "checkpoint.new", share + "checkpoint")
    sys.exit(0)
signal.signal(signal.SIGUSR1, told)
if os.path.exists(share + "checkpoint"):
    print("goes on from", open(share + "checkpoint").read())
    sys.exit(0)
with open(os.environ["TRAINYARD_PROGRESS_FILE"] + ".new", "w") as progress:
    progress.write('{"step": 41, "steps": 100, "checkpoint": 40}\\n')
os.rename(progress.name, os.environ["TRAINYARD_PROGRESS_FILE"])
open(share + "started", "w")
while True:
    time.sleep(0.05)
"""


def _workspace(lab, name, *quota):
    lab.cli("workspace", "create", "-g", "g", "-n", name).ok()
    lab.cli("experiment", "create", "-g", "g", "-w", name, "-n", "x").ok()
    if quota:
        lab.cli("workspace", "set-quota", "-g", "g", "-n", name, *quota).ok()


class _Other(World):
    """The same lab, seen from another workspace: its jobs run on the cluster of the first."""

    def __init__(self, world, workspace):  # pylint: disable=super-init-not-called
        self.lab, self.share, self.workspace = world.lab, world.share, workspace

    def create(self, name, body, *flags, cluster="g/w/c"):
        return super().create(name, body, *flags, cluster=cluster, workspace=self.workspace)

    def at(self, name):
        return ["-g", "g", "-w", self.workspace, "-e", "x", "-n", name]


def limits():
    """A workspace never has more than its limit; why says so and which limit would do; raised, the job starts."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        lab.cli("workspace", "set-quota", "-g", "g", "-n", "w", "--limit", 1).ok()
        world.submit("a", command=wait_for_go())
        world.wait_for("a", "running")
        world.submit("b", command=wait_for_go("go.b"))
        told = lab.cli("job", "why", *world.at("b"), "-o", "json").json()
        check(told["obstacles"][0] == {"code": "quota", "nodes": 0, "text": "workspace w has 1 of at most 1 GPU, and this needs 1"}, f"why: {told}")
        check({"kind": "largerQuota", "text": "with a limit of 2 GPUs of workspace w it would start now", "limit": 2} in told["relaxations"], f"what would help: {told['relaxations']}")
        check("workspace w has 1 of at most 1 GPU" in world.job("b")["reason"], f"the reason: {world.job('b')['reason']}")
        _workspace(lab, "v")
        other = _Other(world, "v")
        other.submit("c", command="true")
        other.succeed("c")  # goes past b
        world.create("never", world.body(nodes=2, command="true")).ok()
        check("can never start until an operator raises the limit" in world.job("never")["reason"], f"never: {world.job('never')['reason']}")
        lab.kill_controller()
        lab.start_controller()
        lab.cli("workspace", "set-quota", "-g", "g", "-n", "w", "--limit", 2).ok()
        world.wait_for("b", "running")
        shown = lab.cli("workspace", "show", "-g", "g", "-n", "w", "-o", "json").json()
        check(shown["quota"] == {"guaranteed": 0, "limit": 2, "used": 2, "weight": 1}, f"the quota: {shown}")
        refused = lab.cli("workspace", "set-quota", "-g", "g", "-n", "w", "--limit", 2, "--guaranteed", 3)
        check(refused.rc == 1 and "quota.guaranteed: is more than quota.limit" in refused.err, f"refused: {refused.err}")
        for file in ("go", "go.b"):
            world.touch(file)


def taken_back_with_notice():
    """What one workspace borrowed, another takes back: the job writes its checkpoint on SIGUSR1 and goes on from it later."""
    with Lab(nodes=1, config={"scheduling": {"preemption_min_run_ms": 1}}) as lab:
        world = World(lab)
        lab.cli("workspace", "set-quota", "-g", "g", "-n", "w", "--guaranteed", 1).ok()
        _workspace(lab, "v")
        other = _Other(world, "v")
        os.makedirs(world.share, exist_ok=True)
        with open(f"{world.share}/train.py", "w") as script:
            script.write(CHECKPOINTS)
        other.submit("borrows", command=f"python3 {SHARE}/train.py", recovery={"notice": "PT20S", "maxRequeues": 0})
        world.wait_file("started")
        wait_until(lambda: other.job("borrows")["progress"] is not None, 30, "the job's progress")
        check(other.job("borrows")["progress"] == {"checkpoint": 40, "step": 41, "steps": 100}, f"as it says: {other.job('borrows')['progress']}")
        world.submit("owns", command=wait_for_go())
        world.wait_for("owns", "running")
        gone = other.wait_for("borrows", "queued")
        check(gone["attempt"] == 1 and gone["requeues"] == 0, f"queued again without its budget: {gone}")
        check("owns of workspace w takes back GPUs that its workspace is guaranteed" in gone["reason"], f"why: {gone['reason']}")
        timeline = lab.cli("job", "timeline", *world.at("owns"), "-o", "json").json()
        check(any(line["what"] == "takes the GPUs of borrows" for line in timeline), f"the timeline: {timeline}")
        world.touch("go")
        world.succeed("owns")
        other.succeed("borrows")
        check(other.output("borrows") == "goes on from step 41\n", f"from its checkpoint: {other.output('borrows')!r}")


def classes():
    """Where the operator wants it, low gives way to high; who just began does not, until it has run long enough."""
    with Lab(nodes=1, config={"scheduling": {"preemption": "classes", "preemption_min_run_ms": 3000}}) as lab:
        world = World(lab)
        world.submit("low", command=wait_for_go(), schedulingPriority="low")
        world.wait_for("low", "running")
        world.create("high", world.body(command=wait_for_go("go.high")), "--priority", "high").ok()
        job = world.wait_for("high", "running", deadline_s=60)
        low = world.job("low")
        check(low["executionState"] == "queued" and "high of workspace w has a higher priority" in low["reason"], f"low gave way: {low['reason']}")
        check(job["attempt"] == 1, f"high: {job}")
        for file in ("go", "go.high"):
            world.touch(file)
        world.succeed("high")
        check(world.succeed("low")["attempt"] == 2, "low to run again")


if __name__ == "__main__":
    main(globals())
