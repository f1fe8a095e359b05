#!/usr/bin/python3
"""Nodes out of service: drained by an operator, with and without moving their jobs; who waits is told why."""
from e2e import Lab, World, check, main, wait_for_go


def drained_nodes_get_nothing_new():
    with Lab(nodes=3) as lab:
        world = World(lab)
        lab.cli("node", "drain", "node1").failed("--reason")
        lab.cli("node", "drain", "node1", "--reason", "").failed("say why")
        drained = lab.cli("node", "drain", "node1", "--reason", "new memory modules", "-o", "json").json()
        check(drained["drain"]["why"] == "new memory modules" and drained["drain"]["who"] and drained["drain"]["since"], drained)
        world.submit("two", nodes=2, command=wait_for_go())
        world.wait_file("started.0")
        check(sorted(world.job("two")["nodes"]) == ["node2", "node3"], f"on the other nodes: {world.job('two')['nodes']}")
        world.submit("one", command="true")
        world.wait_for("one", "queued")
        check("1 drained: new memory modules" in world.job("one")["reason"], f"who waits is told: {world.job('one')['reason']}")
        table = lab.cli("node", "list", "-o", "table").ok()
        check("idle, drained" in table and "new memory modules" in table, f"shown in the list: {table}")
        lab.kill_controller()
        lab.start_controller()
        check(lab.node("node1")["drain"]["why"] == "new memory modules", "kept over a restart of the controller")
        lab.cli("node", "undrain", "node1").ok()
        world.succeed("one")
        check(world.job("one")["nodes"] == ["node1"], "on the node that is back")
        lab.cli("node", "undrain", "node1").failed("not drained")
        world.touch("go")
        world.succeed("two")


def a_drain_moves_jobs_without_using_their_budget():
    with Lab(nodes=3) as lab:
        world = World(lab)
        world.submit("j", nodes=2, command=wait_for_go(), recovery={"maxRequeues": 0})
        world.wait_file("started.0")
        first = world.job("j")["nodes"][0]
        lab.cli("node", "drain", first, "--reason", "a fan is broken", "--requeue").ok()
        world.touch("go")
        world.succeed("j")
        job = world.job("j")
        check(first not in job["nodes"] and job["attempt"] == 2, f"run again elsewhere: {job['nodes']}, attempt {job['attempt']}")


if __name__ == "__main__":
    main(globals())
