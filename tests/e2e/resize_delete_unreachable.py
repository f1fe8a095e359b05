#!/usr/bin/python3
"""Resize, delete and terminate while a job runs or prepares and one node is unreachable: durable at once, nothing is given
out twice, what the unreachable node may still hold is shown until it is clean or fenced."""
from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

FOREVER = {"lease": "forever"}


def _cut_off(lab, world, preparing=False):
    """A four-node job, running or preparing; one of its nodes (not the head) is cut off. Returns that node."""
    if preparing:
        world.submit("j", nodes=4, mpi=True, command="true", recovery=FOREVER,
                     preparation=f"touch {SHARE}/started.$(hostname); while [ ! -e {SHARE}/go ]; do sleep 0.05; done")
        nodes = world.wait_for("j", "preparing")["nodes"]
        for node in nodes:
            world.wait_file(f"started.{node}")
    else:
        world.submit("j", nodes=4, mpi=True, command=wait_for_go(), recovery=FOREVER)
        for rank in range(4):
            world.wait_file(f"started.{rank}")
        nodes = world.wait_for("j", "running")["nodes"]
    lab.cable(nodes[2], "down")
    lab.wait_node(nodes[2], "unreachable")
    return nodes[2]


def _restart(lab):
    """What was answered must be on disk: the controller is killed right after."""
    lab.kill_controller()
    lab.start_controller()
    lab.wait_reachable(3)


def _others_are_free(lab, lost):
    """A second cluster gets the three other nodes and never the lost one."""
    lab.cli("cluster", "create", "-g", "g", "-w", "w", "-n", "c2", "--vm-size", lab.flavour, "--target", 4).ok()

    def three():
        shown = lab.cli("cluster", "show", "-g", "g", "-w", "w", "-n", "c2", "-o", "json").json()
        return shown["nodeStateCounts"]["idleNodeCount"] == 3

    wait_until(three, 30, "the other three nodes are idle in the second cluster", 0.1)
    node = lab.node(lost)
    check("c2" not in str(node["cluster"]), f"the lost node not to be given out: {node}")
    check(node["running"], f"what the lost node may still hold to be shown: {node}")


def _back_and_clean(lab, lost):
    lab.cable(lost, "up")
    lab.wait_node(lost, "reachable", 30)
    wait_until(lambda: not lab.node(lost)["running"], 30, "nothing is held by the node any more", 0.1)

    def in_second():
        shown = lab.cli("cluster", "show", "-g", "g", "-w", "w", "-n", "c2", "-o", "json").json()
        return shown["nodeStateCounts"]["idleNodeCount"] == 4

    wait_until(in_second, 20, "the node is given out, now that it is clean", 0.1)


def resize_running():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world)
        world.resize(0).ok()
        _restart(lab)
        check(world.cluster()["scaleSettings"]["manual"]["targetNodeCount"] == 0, "the new target after a restart")
        _others_are_free(lab, lost)
        check(world.cluster()["nodeStateCounts"]["leavingNodeCount"] == 1, "the lost node counts as leaving")
        _back_and_clean(lab, lost)


def delete_cluster_running():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world)
        lab.cli("cluster", "delete", "-g", "g", "-w", "w", "-n", "c", "-y", "--no-wait").ok()
        _restart(lab)
        _others_are_free(lab, lost)
        _back_and_clean(lab, lost)
        wait_until(lambda: lab.cli("cluster", "show", "-g", "g", "-w", "w", "-n", "c").rc != 0, 20, "the cluster is gone", 0.1)


def delete_job_running():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world)
        lab.cli("job", "delete", *world.at("j"), "-y", "--no-wait").ok()
        _restart(lab)
        node = lab.node(lost)
        check(node["running"], f"the orphan holding to be shown: {node}")
        world.wait_idle(3, 30)
        world.submit("after", nodes=3, mpi=True, command="true")
        world.succeed("after")
        world.submit("needs4", nodes=4, mpi=True, command="true")
        check(lost in world.job("needs4")["reason"] or "4" in world.job("needs4")["reason"], "a reason with numbers")
        lab.wait_node(lost, "unreachable")  # a controller that has just started gives every node its time
        lab.cli("node", "fence", lost, "--confirmed-off").ok()  # the operator's word; the node itself is cut off and killed
        lab.crash(lost)
        wait_until(lambda: not lab.node(lost)["running"], 20, "the orphan holding is gone after the fence", 0.1)


def terminate_running():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world)
        world.terminate("j", "--no-wait").ok()
        _restart(lab)
        world.wait_idle(3, 30)
        job = world.job("j")
        check(job["executionState"] == "terminating" and lost in job["reason"], f"terminating, waiting for {lost}: {job['reason']}")
        lab.cable(lost, "up")
        job = world.wait_end("j", 40)
        check(job["executionState"] == "failed", "terminated is failed")
        world.wait_idle(4)


def terminate_preparing():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world, preparing=True)
        world.terminate("j", "--no-wait").ok()
        _restart(lab)
        world.wait_idle(3, 30)
        lab.cable(lost, "up")
        world.wait_end("j", 40)
        world.wait_idle(4)
        for node in lab.nodes:
            check(not world.job_pids(node), f"nothing left on {node}")


def resize_preparing():
    with Lab(nodes=4) as lab:
        world = World(lab)
        lost = _cut_off(lab, world, preparing=True)
        world.resize(0).ok()
        _others_are_free(lab, lost)
        _back_and_clean(lab, lost)


if __name__ == "__main__":
    main(globals())
