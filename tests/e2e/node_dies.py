#!/usr/bin/python3
"""A node dies under a four-node job: unreachable, gang broken, fenced, and only then runs again, on other nodes."""
import time

from e2e import Lab, World, beats, check, main, one_attempt_at_a_time, os, wait_until

LEASE = {"lease": "PT8S"}


def _running(lab, recovery=None):
    world = World(lab)
    world.submit("j", nodes=4, mpi=True, command=beats(), recovery=recovery or dict(LEASE))
    for rank in range(4):
        world.wait_file(f"started.{rank}")
    world.wait_for("j", "running")
    return world, world.job("j")["nodes"]


def _runs_again(world, lost, deadline_s):
    def second():
        job = world.job("j")
        return job["attempt"] == 2 and job["phase"] == "running" and job

    job = wait_until(second, deadline_s, f"the job runs again: {world.job('j')['reason']}", 0.1)
    check(lost not in job["nodes"] and len(job["nodes"]) == 4, f"four nodes without {lost}: {job['nodes']}")
    wait_until(lambda: one_attempt_at_a_time(world) >= 2, 20, "the second attempt's signs of life", 0.1)
    world.touch("go")
    job = world.succeed("j")
    check(one_attempt_at_a_time(world) == 2, "two attempts, one after the other")
    check(job["attempt"] == 2 and job["requeues"] == 1, f"one requeue: {job['requeues']}")


def _not_before_the_fence(world, lost):
    """While the lost node is not fenced, the job waits and says for what."""
    job = world.wait_for("j", "stopping", "queued", deadline_s=30)
    check(lost in job["reason"], f"the reason to name {lost}: {job['reason']}")
    return job


def _lease_runs_out(cable_first, peer):
    with Lab(nodes=5) as lab:
        world, nodes = _running(lab)
        lost = nodes[2] if peer else nodes[0]
        if cable_first:
            lab.cable(lost, "down")
        lab.crash(lost)
        died = time.monotonic()
        lab.wait_node(lost, "unreachable")
        _not_before_the_fence(world, lost)
        _runs_again(world, lost, 60)
        check(time.monotonic() - died > 8, "the next attempt only after the lease")


def cable_first():
    _lease_runs_out(True, peer=True)


def killed():
    _lease_runs_out(False, peer=True)


def head_killed():
    _lease_runs_out(True, peer=False)


def fence_command():
    with Lab(nodes=5, fence=True) as lab:
        world, nodes = _running(lab, {"lease": "PT1H"})
        lost = nodes[1]
        lab.cable(lost, "down")  # still alive behind the cut: the fence command must end it
        cut = time.monotonic()
        _runs_again(world, lost, 30)
        check(time.monotonic() - cut < 35, "running again within 30 s")
        check(open(os.path.join(lab.root, "fenced")).read().split() == [lost], "exactly the lost node fenced")


def confirmed_off():
    with Lab(nodes=5) as lab:
        world, nodes = _running(lab, {"lease": "forever"})
        lost = nodes[3]
        lab.cli("node", "fence", lost, "--confirmed-off").failed("reachable")
        lab.cable(lost, "down")
        lab.crash(lost)
        lab.wait_node(lost, "unreachable")
        lab.cli("node", "fence", lost).failed("--confirmed-off")
        _not_before_the_fence(world, lost)
        lab.cli("node", "fence", lost, "--confirmed-off").ok()
        _runs_again(world, lost, 20)


def comes_back():
    """A cut-off node that comes back within its lease finds its holding stopped; nothing of the old attempt is left there."""
    with Lab(nodes=5) as lab:
        world, nodes = _running(lab, {"lease": "PT1H"})
        lost = nodes[1]
        lab.cable(lost, "down")
        lab.wait_node(lost, "unreachable")
        _not_before_the_fence(world, lost)
        lab.cable(lost, "up")
        lab.wait_node(lost, "reachable", 30)

        def second():
            job = world.job("j")
            return job["attempt"] == 2 and job["phase"] == "running"

        wait_until(second, 40, "the job runs again", 0.1)
        wait_until(lambda: one_attempt_at_a_time(world) == 2, 20, "the second attempt's signs of life", 0.1)
        world.touch("go")
        world.succeed("j")
        check(one_attempt_at_a_time(world) == 2, "two attempts, one after the other")


def reboot():
    """A node that comes back with another boot identity is fenced by that."""
    with Lab(nodes=4) as lab:
        world, nodes = _running(lab, {"lease": "forever"})
        lab.crash(nodes[2])
        lab.boot(nodes[2])
        wait_until(lambda: world.job("j")["attempt"] == 2 and world.state("j") == "running", 40, "the job runs again", 0.1)
        wait_until(lambda: one_attempt_at_a_time(world) == 2, 20, "the second attempt's signs of life", 0.1)
        world.touch("go")
        world.succeed("j")
        check(one_attempt_at_a_time(world) == 2, "two attempts, one after the other")


def policy():
    """onNodeLoss: fail ends the job; rerunAfter: gangBroken does not wait for the fence."""
    with Lab(nodes=5) as lab:
        world, nodes = _running(lab, {"onNodeLoss": "fail", "lease": "PT5S"})
        lab.cable(nodes[1], "down")
        lab.crash(nodes[1])
        job = world.wait_end("j", 60)
        check(job["executionState"] == "failed" and job["attempt"] == 1, f"failed at once: {job['executionInfo']}")
        check(nodes[1] in str(job["executionInfo"]["errors"]) + str(job["reason"]), "the lost node to be named")
    with Lab(nodes=5) as lab:
        world, nodes = _running(lab, {"rerunAfter": "gangBroken", "lease": "forever"})
        lab.cable(nodes[1], "down")
        lab.crash(nodes[1])
        _runs_again(world, nodes[1], 40)


if __name__ == "__main__":
    main(globals())
