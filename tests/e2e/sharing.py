#!/usr/bin/python3
"""Jobs that take parts of nodes share them by their GPUs; short ones fill in before those that wait; why they wait."""
import os

from e2e import SHARE, Lab, World, check, main, wait_for_go


def _read(path):
    with open(path) as file:
        return file.read().strip()


def _tell(name):
    """Leaves the GPUs that it sees on the share, whole or not at all."""
    return f"echo $CUDA_VISIBLE_DEVICES $AZ_BATCHAI_NUM_GPUS > {SHARE}/{name}.new && mv {SHARE}/{name}.new {SHARE}/{name}"


def _gpus(nodes, count):
    """That many GPUs on each node, by a stand-in for the driver's library: pretended ones are not given to programs."""
    return {f"node{node}": [(f"GPU-{node}{gpu}", "T", 1024, 0, 0, 0, 0) for gpu in range(count)] for node in range(1, nodes + 1)}


def _part(nodes, count):
    return {"resources": {"nodes": nodes, "gpusPerNode": count}, "nodeCount": None}


def _minutes(count):
    return {"constraints": {"maxWallClockTime": f"PT{count}M"}}


def _why(world, name):
    return world.lab.cli("job", "why", *world.at(name), "-o", "json").json()


def parts_of_one_node():
    """Three jobs on one node at once, each with its own GPUs; a fourth waits until one ends; nothing is left."""
    with Lab(nodes=1, gpus=0, nvml_gpus=_gpus(1, 4)) as lab:
        world = World(lab)
        for name, count in (("a", 1), ("b", 2), ("c", 1)):
            world.submit(name, command=f"{_tell(name)}; {wait_for_go()}", **_part(1, count))
        for name in ("a", "b", "c"):
            world.wait_for(name, "running")
        world.submit("d", command=_tell("d"), **_part(1, 1))
        told = _why(world, "d")
        check(told["possible"] and told["needs"] == 1 and told["position"] == 1, f"why d waits: {told}")
        for name in ("a", "b", "c"):
            world.wait_file(name)
        seen = {name: world.read(name).split() for name in ("a", "b", "c")}
        check([words[1] for words in seen.values()] == ["1", "2", "1"], f"the number of GPUs: {seen}")
        uuids = [uuid for words in seen.values() for uuid in words[0].split(",")]
        check(len(uuids) == 4 and len(set(uuids)) == 4, f"four GPUs, none twice: {seen}")
        weights = sorted(_read(group + "/cpu.shares") for group in lab.limit_groups("node1") if "/cgroup/cpu/" in group)
        if os.path.isdir("/sys/fs/cgroup/cpu"):
            check(weights == ["1024", "1024", "2048"], f"processors by GPUs: {weights}")
            groups = [group for group in lab.limit_groups("node1") if "/cgroup/cpu/" in group]
            check(all(_read(group + "/cgroup.procs") for group in groups), f"each job in its group: {groups}")
        node = lab.cli("node", "show", "-n", "node1", "-o", "json").json()
        check(len(node["running"]) == 3, f"three jobs on the node: {node['running']}")
        world.touch("go")
        for name in ("a", "b", "c", "d"):
            world.succeed(name)
        world.wait_idle(1)
        check(not world.job_pids("node1"), "no process of a job")
        check(not lab.limit_groups("node1"), f"no group of a job: {lab.limit_groups('node1')}")


def _processors(line):
    """"0-1,4" of a line of /proc/self/status."""
    found = set()
    for part in line.split(":")[-1].strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def cores_and_memory_of_a_part():
    """Two jobs on one node: each on cores of its own, before and after the agent's restart, and with half of the memory; one that
    needs more ends, the other goes on. A job of the whole node has all cores. The operator may turn it off."""
    tell = "grep Cpus_allowed_list /proc/self/status > {0}/{1}.new; mv {0}/{1}.new {0}/{1}"
    grow = "python3 -c 'x = bytearray(150 << 20)'; sleep 1000"
    every = os.sched_getaffinity(0)
    with Lab(nodes=1, gpus=2, agent={"memory_limit_mb": 192}) as lab:
        world = World(lab)
        world.submit("whole", command=tell.format(SHARE, "whole"))
        world.succeed("whole")
        check(_processors(world.read("whole")) == every, f"all of the node's: {world.read('whole')}")
        world.submit("a", command=f"{tell.format(SHARE, 'a')}; {wait_for_go()}", **_part(1, 1))
        world.wait_file("a")
        lab.kill_agent("node1")
        lab.start_agent("node1")
        world.submit("b", command=f"{tell.format(SHARE, 'b')}; {wait_for_go('grow')}{grow}", **_part(1, 1))
        world.wait_file("b")
        seen = [_processors(world.read(name)) for name in ("a", "b")]
        check(len(every) < 2 or not seen[0] & seen[1], f"cores of their own: {seen}")
        check(seen[0] | seen[1] == every, f"and none left over: {seen}")
        gpus = lab.cli("node", "show", "-n", "node1", "-o", "json").json()["gpus"]
        shown = {gpu["job"].split()[0]: _processors(gpu["cores"]) for gpu in gpus}
        check(shown == dict(zip("ab", seen)), f"node show says who has which: {gpus}")
        limits = [_read(group + "/memory.limit_in_bytes") for group in lab.limit_groups("node1") if "/cgroup/memory/" in group]
        if os.path.isdir("/sys/fs/cgroup/memory"):
            check(limits == [str(96 << 20)] * 2, f"half of the memory each: {limits}")
        world.touch("grow")
        error = world.wait_end("b")["executionInfo"]["errors"][0]
        check(error["code"] == "OutOfMemory" and "0.09 GiB" in error["message"] and "1 of 2 GPUs" in error["message"], f"its part's limit: {error}")
        check(world.state("a") == "running", "the other job to run on")
        world.touch("go")
        world.succeed("a")
        world.wait_idle(1)
        check(not lab.limit_groups("node1"), f"no group of a job: {lab.limit_groups('node1')}")
    with Lab(nodes=1, gpus=2, agent={"part_limits": False}) as lab:
        world = World(lab)
        world.submit("free", command=tell.format(SHARE, "free"), **_part(1, 1))
        world.succeed("free")
        check(_processors(world.read("free")) == every, f"no cores of its own: {world.read('free')}")
        check(lab.cli("node", "show", "-n", "node1", "-o", "json").json()["gpus"][0]["cores"] is None, "and none shown")


def ranks_beside_ranks():
    """Two MPI jobs over the same two nodes, half of each: they do not meet."""
    with Lab(nodes=2, gpus=0, nvml_gpus=_gpus(2, 2)) as lab:
        world = World(lab)
        for name in ("a", "b"):
            world.submit(name, mpi=True, processes=2, command=f"echo rank $OMPI_COMM_WORLD_RANK on $CUDA_VISIBLE_DEVICES; {wait_for_go()}",
                         **_part(2, 1))
        for name in ("a", "b"):
            world.wait_for(name, "running")
        world.touch("go")
        seen = []
        for name in ("a", "b"):
            world.succeed(name)
            seen += [line.split()[-1] for line in world.output(name).splitlines() if line.startswith("rank")]
        check(len(seen) == 4 and len(set(seen)) == 4, f"four ranks on four GPUs: {seen}")


def whole_nodes_stay_alone():
    """A job of whole nodes waits for a shared one; a short job fills in before it, a long one does not."""
    with Lab(nodes=2, gpus=2) as lab:
        world = World(lab)
        world.submit("a", command=wait_for_go(), **_part(1, 1), **_minutes(60))
        world.wait_for("a", "running")
        world.submit("whole", nodes=2, mpi=True, command="true", **_minutes(10))
        world.submit("long", command="true", **_part(1, 1), **_minutes(90))
        world.submit("short", command="true", **_part(1, 1), **_minutes(5))
        world.succeed("short")
        check(world.state("whole") == "queued" and world.state("long") == "queued", "the others wait")
        told = _why(world, "long")
        check(any(found["kind"] == "shorterLimit" for found in told["relaxations"]), f"what would help: {told}")
        check(told["latestStart"] and told["startBasis"], f"when it starts: {told}")
        check("would help" in lab.cli("job", "why", *world.at("long"), "-o", "table").ok(), "the same as a table")
        world.touch("go")
        for name in ("a", "whole", "long"):
            world.succeed(name)
        lab.cli("job", "why", *world.at("long")).failed("does not wait")


def what_cannot_be():
    with Lab(nodes=1, gpus=2) as lab:
        world = World(lab)
        world.submit("never", command="true", **_part(1, 3))
        told = _why(world, "never")
        check(not told["possible"], f"three GPUs of nodes with two: {told}")
        check("3" in world.job("never")["reason"], f"the reason: {world.job('never')['reason']}")
        world.terminate("never").ok()


if __name__ == "__main__":
    main(globals())
