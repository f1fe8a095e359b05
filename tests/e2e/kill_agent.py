#!/usr/bin/python3
"""kill -9 of an agent: the job goes on under its shims and is re-adopted; exit code and every log byte are right."""
import sys

from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

LINES = 20000
# `kill_agent.py restarts 200` makes so many.
COUNT = next((int(word) for word in sys.argv[1:] if word.isdigit()), 20)
sys.argv[1:] = [word for word in sys.argv[1:] if not word.isdigit()]
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


def restarts():
    """kill -9 of the agents, turn by turn, during one job of two nodes: no rank notices, no line is missing or there twice."""
    talk = f"i=0; while [ ! -e {SHARE}/go ]; do i=$((i + 1)); echo line $i; sleep 0.02; done; echo total $i"
    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("j", nodes=2, mpi=True,
                     command=f"touch {SHARE}/started.$OMPI_COMM_WORLD_RANK; if [ $OMPI_COMM_WORLD_RANK = 0 ]; then {talk}; else while [ ! -e {SHARE}/go ]; do sleep 0.1; done; fi")
        for rank in range(2):
            world.wait_file(f"started.{rank}")
        before = {node: sorted(world.job_pids(node)) for node in lab.nodes}
        for number in range(COUNT):
            node = lab.nodes[number % 2]
            lab.kill_agent(node)
            lab.start_agent(node)
        check(world.job("j")["attempt"] == 1 and world.state("j") == "running", "the job to run on")
        for node in lab.nodes:
            check({p for p in before[node] if p in world.job_pids(node)} >= set(before[node][:2]), f"the same processes on {node}")
        world.touch("go")
        job = world.succeed("j")
        lines = world.output("j").splitlines()
        total = int(lines[-1].split()[1])
        check(lines[:-1] == [f"line {i}" for i in range(1, total + 1)], f"every line once, of {total}: {len(lines)}")
        check(job["attempt"] == 1 and job["requeues"] == 0, "one attempt")
        print(f"    {COUNT} restarts of agents, {total} lines")


if __name__ == "__main__":
    main(globals())
