#!/usr/bin/python3
"""GPUs that go wrong, over a stand-in of the driver's library: one that fails takes itself out of service, not its node; one whose
memory a job did not give back is not given out."""
import signal

from e2e import Lab, World, check, main, os, wait_for_go, wait_until

GPUS = {f"node{n}": [(f"GPU-{n}{i}", "Tesla-T4", 15360, 450, 0, 9100, 40) for i in (1, 2)] for n in (1, 2)}


def _lab():
    return Lab(nodes=2, gpus=0, agent={"gpus_every_ms": 200}, nvml_gpus=GPUS)


def _faults(lab, node):
    return {gpu["uuid"]: gpu["fault"] for gpu in lab.node(node)["gpus"] if gpu["fault"]}


def _note(lab, node, ending, text):
    path = os.path.join(lab.network.hosts[node].folder, "gpus" + ending)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def a_fatal_error_takes_its_gpu_out_of_service():
    with _lab() as lab:
        world = World(lab)
        world.submit("j", command="echo $CUDA_VISIBLE_DEVICES; " + wait_for_go())
        world.wait_file("started.0")
        node = world.job("j")["nodes"][0]
        number = node[-1]
        _note(lab, node, ".xid", f"GPU-{number}1 31\nGPU-{number}2 79\n")
        wait_until(lambda: world.job("j")["attempt"] == 2 and world.job("j")["nodes"] != [node], 30, "the job to move", 0.2)
        check(_faults(lab, node) == {f"GPU-{number}2": "XID 79: it fell off the bus"}, f"that GPU only: {_faults(lab, node)}")
        shown = lab.node(node)
        check(shown["reachable"] and shown["state"] == "idle" and "1 of 2 GPUs out of service" in shown["note"], f"the node stays: {shown}")
        check("1 faulty" in lab.cli("node", "list", "-o", "table").ok(), "in the list")
        world.submit("k", command="true")
        world.wait_for("k", "queued")
        check("XID 79" in world.job("k")["reason"], f"who waits is told: {world.job('k')['reason']}")
        # The operator has replaced it: a reload looks again.
        os.kill(lab.agent_pid(node), signal.SIGHUP)
        wait_until(lambda: not _faults(lab, node), 30, "the GPU in service again", 0.2)
        world.succeed("k")
        world.touch("go")
        world.succeed("j")
        check(world.output("j").split()[-1] == ",".join(f"GPU-{3 - int(number)}{i}" for i in (1, 2)), "by UUID")


def memory_must_be_free_before_a_gpu_is_given_out():
    with _lab() as lab:
        world = World(lab)
        wait_until(lambda: all(lab.node(n)["gpus"] for n in lab.nodes), 30, "GPUs", 0.2)
        world.submit("j", command=wait_for_go())
        world.wait_file("started.0")
        node = world.job("j")["nodes"][0]
        used = [gpu[:3] + (5000,) + gpu[4:] for gpu in GPUS[node]]
        lab.set_gpus(node, used)
        _note(lab, node, ".pids", f"{GPUS[node][0][0]} 4711\n")
        world.touch("go")
        wait_until(lambda: world.job("j")["phase"] == "stopping", 30, "the job to wait for its memory", 0.1)
        lab.set_gpus(node, [used[0], GPUS[node][1]])
        world.succeed("j", 60)
        check(_faults(lab, node) == {GPUS[node][0][0]: "its memory is not free: 4550 MiB above its baseline, held by process 4711"},
              f"the one that has something: {_faults(lab, node)}")
        world.submit("k", nodes=2, command="true")
        world.wait_for("k", "queued")
        check("memory is not free" in world.job("k")["reason"], world.job("k")["reason"])
        _note(lab, node, ".pids", "")
        lab.set_gpus(node, GPUS[node])
        world.succeed("k")
        check(not _faults(lab, node), "free again, and in service")


def instances_are_given_instead_of_their_gpu():
    gpus = {"node1": [("GPU-1", "A100", 40960, 450, 0, 9100, 40), ("MIG-1", "A100-MIG", 20480, 10, None, None, None),
                      ("MIG-2", "A100-MIG", 20480, 10, None, None, None), ("GPU-2", "A100", 40960, 450, 0, 9100, 40)]}
    with Lab(nodes=1, gpus=0, agent={"gpus_every_ms": 200}, nvml_gpus=gpus) as lab:
        world = World(lab)
        world.submit("j", command="echo $CUDA_VISIBLE_DEVICES")
        world.succeed("j")
        check(world.output("j").split() == ["MIG-1,MIG-2,GPU-2"], world.output("j"))
        parents = {gpu["uuid"]: gpu["parentUuid"] for gpu in lab.node("node1")["gpus"]}
        check(parents == {"GPU-1": None, "MIG-1": "GPU-1", "MIG-2": "GPU-1", "GPU-2": None}, parents)


if __name__ == "__main__":
    main(globals())
