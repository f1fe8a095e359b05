#!/usr/bin/python3
"""A queued job always says why it waits, with numbers; node list shows what runs where."""
from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until


def reasons():
    with Lab(nodes=4) as lab:
        world = World(lab)
        world.submit("first", nodes=2, mpi=True, command=wait_for_go())
        world.wait_file("started.1")
        world.submit("second", nodes=4, mpi=True, command="true")
        reason = world.job("second")["reason"]
        for word in ("4", "2", "first", "c"):
            check(word in reason, f"{word!r} in the reason: {reason}")
        listed = lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json()
        check(all(j["reason"] for j in listed if j["executionState"] == "queued"), f"a reason for every queued job: {listed}")
        check("second" in lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "table").ok(), "a table of jobs")
        lab.cable("node4", "down")
        lab.wait_node("node4", "unreachable")
        wait_until(lambda: "unreachable" in world.job("second")["reason"] or "node4" in world.job("second")["reason"], 10,
                   "the reason tells of the unreachable node", 0.1)
        lab.cable("node4", "up")
        world.touch("go")
        world.succeed("first")
        world.succeed("second")


def never_empty():
    """Sampled all the way from submit to end, also while it waits behind others and while the cluster grows."""
    with Lab(nodes=2) as lab:
        world = World(lab, target=0)
        world.submit("a", nodes=1, command="true")
        job = world.job("a")
        check(job["executionState"] == "queued" and job["reason"], f"a reason on an empty cluster: {job['reason']}")
        world.resize(2).ok()
        for name in ("b", "d", "e"):
            world.submit(name, nodes=2, mpi=True, command="true", preparation=f"touch {SHARE}/{name}")

        def all_done():
            jobs = lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json()
            for j in jobs:
                check(j["reason"] or j["executionState"] != "queued", f"a reason while queued: {j['name']}")
            return all(j["executionState"] == "succeeded" for j in jobs)

        wait_until(all_done, 40, "all jobs succeed")


def node_list():
    with Lab(nodes=2, gpus=2) as lab:
        world = World(lab)
        world.submit("j", command=wait_for_go())
        world.wait_file("started.0")
        nodes = {n["name"]: n for n in lab.cli("node", "list", "-o", "json").json()}
        where = world.job("j")["nodes"][0]
        node = nodes[where]
        check(node["state"] == "running" and any("j" in r for r in node["running"]), f"what runs there: {node}")
        check(node["address"] == lab.network.hosts[where].address, "its address")
        check(len(node["gpus"]) == 2 and all(g["pretend"] for g in node["gpus"]), f"two pretend GPUs: {node['gpus']}")
        check("pretend" in lab.cli("node", "list", "-o", "table").ok(), "pretend in the table")
        world.touch("go")
        world.succeed("j")


if __name__ == "__main__":
    main(globals())
