#!/usr/bin/python3
"""What a job leaves open: which nodes lie together, how many it gets, how long it may run. And nodes that are cordoned."""
from e2e import SHARE, Lab, World, check, main, wait_for_go

LEAVES = {"node1": "rack=r1/leaf=l1", "node2": "rack=r1/leaf=l2", "node3": "rack=r1/leaf=l2", "node4": "rack=r2/leaf=l1"}


def _why(world, name):
    return world.lab.cli("job", "why", *world.at(name), "-o", "json").json()


def _timeline(world, name):
    return " ".join(line["what"] + " " + line["why"] for line in world.lab.cli("job", "timeline", *world.at(name), "-o", "json").json())


def together_on_a_leaf():
    """A gang that insists gets the only leaf of its size; the next of its kind waits, is told why, and what would help."""
    with Lab(nodes=4, topology=LEAVES) as lab:
        world = World(lab)
        check(lab.node("node2")["topology"] == "rack=r1/leaf=l2", f"a node's place: {lab.node('node2')}")
        together = {"topology": {"level": "leaf", "required": True}}
        world.submit("a", nodes=2, mpi=True, command=wait_for_go(), **together)
        world.wait_for("a", "running")
        job = world.job("a")
        check(sorted(job["nodes"]) == ["node2", "node3"], f"both in one leaf: {job['nodes']}")
        check(job["topology"] == {"level": "leaf", "required": True}, f"shown as it was given: {job['topology']}")
        check("1 leaf (rack=r1/leaf=l2)" in _timeline(world, "a"), f"the plan says how it lies: {_timeline(world, 'a')}")
        world.submit("b", nodes=2, mpi=True, command="true", **together)
        told = _why(world, "b")
        obstacle = [found for found in told["obstacles"] if found["code"] == "topology"]
        check(obstacle and "2 are free" in obstacle[0]["text"] and "one leaf" in obstacle[0]["text"], f"why b waits: {told}")
        check(any(found["kind"] == "anyTopology" for found in told["relaxations"]), f"what would help: {told['relaxations']}")
        check("(one leaf)" in world.job("b")["reason"], f"its reason: {world.job('b')['reason']}")
        # What would help does: the same job without it starts beside the one that waits.
        world.submit("anywhere", nodes=2, mpi=True, command="true", topology={"level": "leaf"})
        world.touch("go")
        for name in ("a", "b", "anywhere"):
            world.succeed(name)
        world.submit("never", nodes=3, mpi=True, command="true", **together)
        check(not _why(world, "never")["possible"], f"three nodes of one leaf are not there: {_why(world, 'never')}")
        world.terminate("never").ok()
        world.create("bad", world.body(nodes=3, command="true", topology={"level": "leaf", "required": True, "blockSize": 2})).failed(
            "topology", "blockSize 2 does not divide the 3 nodes")


def starts_with_what_there_is():
    """Of four nodes one is taken: an elastic job of two to four starts on three, with a rank on each."""
    with Lab(nodes=4) as lab:
        world = World(lab)
        world.submit("first", command=wait_for_go())
        world.wait_for("first", "running")
        world.submit("elastic", nodes=4, mpi=True, command="echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE on $AZ_BATCHAI_TASK_INDEX",
                     resources={"minNodes": 2})
        job = world.succeed("elastic")
        check(len(job["nodes"]) == 3 and job["resources"] == {"minNodes": 2}, f"on three nodes: {job['nodes']}, {job['resources']}")
        ranks = sorted(line.split(" on ")[0] for line in world.output("elastic").splitlines() if line.startswith("rank"))
        check(ranks == [f"rank {i} of 3" for i in range(3)], f"a rank on each: {ranks}")
        check("3 node(s) of 4" in _timeline(world, "elastic"), f"told in its timeline: {_timeline(world, 'elastic')}")
        world.touch("go")
        world.succeed("first")
        world.create("bad", world.body(nodes=2, mpi=True, processes=4, command="true", resources={"minNodes": 1})).failed("minNodes", "counts of processes")


def a_shorter_limit_fills_in():
    """b waits for both nodes in an hour; c, of 90 minutes but at least 20, starts before it with less than an hour."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("a", command=wait_for_go(), constraints={"maxWallClockTime": "PT60M"})
        world.wait_for("a", "running")
        world.submit("b", nodes=2, mpi=True, command="true", constraints={"maxWallClockTime": "PT10M"})
        limits = {"maxWallClockTime": "PT90M", "minWallClockTime": "PT20M"}
        world.submit("c", command=f"touch {SHARE}/c; {wait_for_go('end_c')}", constraints=limits)
        job = world.wait_for("c", "running")
        check(job["timeLimit"] in ("0:59:00", "0:58:00"), f"its limit is less than an hour: {job['timeLimit']}")
        check(world.state("b") == "queued", "b waits")
        lab.kill_controller()
        lab.start_controller()
        check(world.job("c")["timeLimit"] == job["timeLimit"], "kept over a restart of the controller")
        world.touch("end_c")
        world.touch("go")
        for name in ("a", "b", "c"):
            world.succeed(name)
        check(world.job("b")["timeLimit"] is None, "b has its own")


def cordoned_nodes():
    """A cordoned node takes nothing new, what runs there goes on, and uncordon ends it."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("a", command=wait_for_go())
        world.wait_for("a", "running")
        node = lab.cli("node", "cordon", "node1", "--reason", "watching its fans", "-o", "json").json()
        check(node["drain"]["cordon"] and node["drain"]["why"] == "watching its fans", f"cordoned: {node['drain']}")
        world.submit("b", command="true")
        check(world.state("a") == "running", "a goes on")
        check("cordoned" in lab.cli("node", "list", "-o", "table").ok(), "shown in the list")
        world.touch("go")
        world.succeed("a")
        check(world.state("b") == "queued" and "watching its fans" in world.job("b")["reason"], f"b waits: {world.job('b')['reason']}")
        lab.cli("node", "uncordon", "node1").ok()
        world.succeed("b")
        lab.cli("node", "uncordon", "node1").failed("not drained")


if __name__ == "__main__":
    main(globals())
