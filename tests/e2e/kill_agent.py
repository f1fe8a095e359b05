#!/usr/bin/python3
"""kill -9 of an agent: the job goes on under its shims and is re-adopted; exit code and every log byte are right."""
from e2e import Lab, World, check, main, wait_for_go, wait_until

LINES = 20000
EXPECTED = "".join(f"line {i} of the output\n" for i in range(1, LINES + 1))
TALK = f"for i in $(seq {LINES}); do echo line $i of the output; done; echo and an error >&2; exit 9"


def _check_end(world, name):
    job = world.wait_end(name)
    check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == 9, f"exit code 9: {job['executionInfo']} {job['reason']}")
    check(job["attempt"] == 1, f"the first attempt, not {job['attempt']}")
    out, err = world.output(name), world.output(name, "stderr.txt")
    check(out == EXPECTED, f"every byte once: {len(out)} of {len(EXPECTED)}")
    check(err == "and an error\n", f"its errors: {err}")
    stream = world.stream(name)
    check(stream.communicate(timeout=30)[0] == EXPECTED, "the same by job file stream")


def mid_job():
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("j", command=wait_for_go() + TALK)
        world.wait_file("started.0")
        lab.kill_agent("node1")
        lab.start_agent("node1")
        check(world.state("j") == "running", "the job to run on")
        world.touch("go")
        _check_end(world, "j")


def while_it_writes():
    """Killed in the middle of the output, again and again."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        slow = f"for i in $(seq {LINES}); do echo line $i of the output; [ $((i % 200)) = 0 ] && sleep 0.05; done; echo and an error >&2; exit 9"
        world.submit("j", command="touch $AZ_BATCHAI_JOB_MOUNT_ROOT/s/started.0; " + slow)
        world.wait_file("started.0")
        for _ in range(3):
            lab.kill_agent("node1")
            lab.start_agent("node1")
        _check_end(world, "j")


def ended_while_down():
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("j", command=wait_for_go() + TALK)
        world.wait_file("started.0")
        world.wait_for("j", "running")
        lab.kill_agent("node1")
        world.touch("go")
        wait_until(lambda: not world.job_pids("node1"), 20, "the job's processes are gone")
        lab.start_agent("node1")
        _check_end(world, "j")


def peer_of_a_gang():
    """The agent of a node that is not the head: its orted keeps running under its shim, trainyard-rsh sits it out."""
    with Lab(nodes=3) as lab:
        world = World(lab)
        world.submit("j", nodes=3, mpi=True, command=wait_for_go() + "echo rank $OMPI_COMM_WORLD_RANK")
        for rank in range(3):
            world.wait_file(f"started.{rank}")
        for node in lab.nodes:
            lab.kill_agent(node)
        for node in lab.nodes:
            lab.start_agent(node)
        world.touch("go")
        job = world.succeed("j")
        check(job["attempt"] == 1, "the first attempt")
        check(sorted(world.output("j").splitlines()) == ["rank 0", "rank 1", "rank 2"], f"three ranks: {world.output('j')}")


if __name__ == "__main__":
    main(globals())
