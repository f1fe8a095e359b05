#!/usr/bin/python3
"""kill -9 of the controller, of the head's agent and of a peer's agent while launches are under way: exactly one orted per
node starts, and the job runs in its first attempt. The kill comes at different moments after the launch has begun."""
import time

from e2e import SHARE, Lab, World, check, main, program, wait_for_go, wait_until

MOMENTS_S = (0.0, 0.03, 0.08, 0.15, 0.3)


def _orteds(lab, node):
    return [pid for pid in lab.network.hosts[node].pids() if program(pid) == "orted"]


def _round(lab, world, number, moment_s, kill_and_restart):
    name = f"j{number}"
    # Preparation waits for a file, so that the launch begins when we say so.
    gate = f"touch {SHARE}/{name}.ready.$(hostname); while [ ! -e {SHARE}/{name}.launch ]; do sleep 0.01; done"
    world.submit(name, nodes=4, mpi=True, preparation=gate, command=wait_for_go(f"{name}.go", f"{name}.started") + "echo done")
    nodes = world.wait_for(name, "preparing")["nodes"]
    for node in nodes:
        world.wait_file(f"{name}.ready.{node}")
    world.touch(f"{name}.launch")
    end = time.monotonic() + moment_s
    while time.monotonic() < end:  # the moment is the point of this test, not a wait for something
        time.sleep(0.002)
    kill_and_restart(nodes)
    for rank in range(4):
        world.wait_file(f"{name}.started.{rank}", 60)
    counts = {node: len(_orteds(lab, node)) for node in nodes}
    check(counts == {node: 0 if node == nodes[0] else 1 for node in nodes}, f"one orted on every peer: {counts}")
    lab.wait_reachable(4)
    world.touch(f"{name}.go")
    job = world.succeed(name)
    check(job["attempt"] == 1, f"the first attempt, not {job['attempt']}")
    check(world.output(name) == "done\n" * 4, f"four ranks: {world.output(name)}")
    wait_until(lambda: not any(_orteds(lab, node) for node in nodes), 5, "no orted is left")


def _rounds(kill_and_restart):
    with Lab(nodes=4) as lab:
        world = World(lab)
        for number, moment_s in enumerate(MOMENTS_S):
            _round(lab, world, number, moment_s, lambda nodes: kill_and_restart(lab, nodes))


def controller():
    def kill_and_restart(lab, _):
        lab.kill_controller()
        lab.start_controller()

    _rounds(kill_and_restart)


def head_agent():
    def kill_and_restart(lab, nodes):
        lab.kill_agent(nodes[0])
        lab.start_agent(nodes[0])

    _rounds(kill_and_restart)


def peer_agent():
    def kill_and_restart(lab, nodes):
        lab.kill_agent(nodes[2])
        lab.start_agent(nodes[2])

    _rounds(kill_and_restart)


if __name__ == "__main__":
    main(globals())
