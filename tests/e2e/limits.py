#!/usr/bin/python3
"""What a job may use on its nodes: memory (OutOfMemory, with the peak), processes (a fork bomb stays inside), and logs (a flood
is cut, its end kept). Other jobs do not notice; nothing of the limits is left."""
from e2e import Lab, World, check, main, os, wait_until

MEMORY_MB, PROCESSES, LOG_MB = 96, 150, 1


def _limited(nodes):
    return Lab(nodes=nodes, agent={"memory_limit_mb": MEMORY_MB, "process_limit": PROCESSES, "log_limit_mb": LOG_MB})


def _nothing_left(lab):
    for node in lab.nodes:
        check(not lab.limit_groups(node), f"no cgroup of a limit left on {node}: {lab.limit_groups(node)}")


NEIGHBOUR = f"touch {{0}}/up; until [ -e {{0}}/go ]; do echo alive; sleep 0.1; done"


def out_of_memory():
    """A rank on the second node needs too much: the job fails as OutOfMemory and names node and peak; a job beside it goes on."""
    grow = "python3 -c 'import os; x = bytearray((300 if os.environ[\"OMPI_COMM_WORLD_RANK\"] == \"1\" else 1) << 20); print(len(x))'"
    with _limited(3) as lab:
        world = World(lab)
        world.submit("beside", command=NEIGHBOUR.format("$AZ_BATCHAI_JOB_MOUNT_ROOT/s"))
        world.wait_file("up")
        world.submit("big", nodes=2, mpi=True, command=grow)
        job = world.wait_end("big")
        errors = job["executionInfo"]["errors"] or [{"code": "none", "message": ""}]
        check(job["executionState"] == "failed" and errors[0]["code"] == "OutOfMemory", f"OutOfMemory: {job['executionInfo']} {job['reason']}")
        details = {d["name"]: d["value"] for d in errors[0]["details"]}
        check(details["node"] == job["nodes"][1], f"the node on which it was: {errors[0]}")
        check(MEMORY_MB * 0.9 < int(details["peakBytes"]) / 2**20 <= MEMORY_MB, f"the peak: {details}")
        world.submit("head", command="python3 -c 'x = bytearray(300 << 20)'; sleep 1000")
        job = world.wait_end("head")
        check(job["executionInfo"]["errors"][0]["code"] == "OutOfMemory", f"also when what is killed is not the job's own process: {job['executionInfo']}")
        world.submit("small", command="python3 -c 'x = bytearray(20 << 20); print(len(x))'")
        world.succeed("small")
        check(world.state("beside") == "running", "the job beside to run on")
        world.touch("go")
        world.succeed("beside")
        _nothing_left(lab)


def fork_bomb():
    """It fills its own limit and nothing else."""
    bomb = "touch $AZ_BATCHAI_JOB_MOUNT_ROOT/s/lit; f() { f | f & }; f; sleep 1000"
    with _limited(2) as lab:
        world = World(lab)
        world.submit("bomb", command=bomb)
        world.wait_file("lit")
        node = world.job("bomb")["nodes"][0]
        wait_until(lambda: len(world.job_pids(node)) >= PROCESSES * 0.5, 30, "the bomb to go off")
        world.submit("other", command="for i in $(seq 100); do /bin/true; done; echo done")
        world.succeed("other")
        check(len(world.job_pids(node)) <= PROCESSES, f"at most {PROCESSES} processes: {len(world.job_pids(node))}")
        world.terminate("bomb").ok()
        world.wait_idle(2)
        check(not world.job_pids(node), "nothing of it left")
        _nothing_left(lab)


def log_flood():
    """200 MB of output: the first megabyte, a line with how much is missing, and the end. The same of a rank."""
    flood = "echo first; yes trainyard | head -c 200000000; echo; echo last words"
    with _limited(1) as lab:
        world = World(lab)
        world.submit("j", command=flood)
        world.succeed("j", 120)
        out = world.output("j")
        check(len(out) < (LOG_MB << 20) + 200_000, f"a log of about {LOG_MB} MB: {len(out)}")
        check(out.startswith("first\ntrainyard\n") and out.endswith("last words\n"), f"its beginning and its end: {out[-100:]!r}")
        marks = [line for line in out.splitlines() if line.startswith("[trainyard: ")]
        check(len(marks) == 1, f"one line about what is left out: {marks}")
        missing = int(marks[0].split()[1])
        total = len("first\n") + 200000000 + len("\nlast words\n")
        check(len(out) - len(marks[0]) - 2 + missing == total, f"the exact number: {missing} + {len(out)} of {total}")
        world.submit("r", mpi=True, processes=2, command="[ $OMPI_COMM_WORLD_RANK = 1 ] && { " + flood + "; }; true")
        world.succeed("r", 120)
        check(len(world.output("r", "ranks/stdout-1.txt")) == LOG_MB << 20, "a rank's own log to be cut as well")
        check(world.output("r").endswith("last words\n") or "last words" in world.output("r")[-200:], "the end in stdout.txt")
        _nothing_left(lab)


if __name__ == "__main__":
    main(globals())
