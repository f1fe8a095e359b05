#!/usr/bin/python3
"""What clusters do by themselves: nodes for the jobs there are, set-up tasks and volumes on every node, nodes taken back."""
from e2e import SHARE, Lab, World, check, main, os, wait_for_go, wait_until
from lab import TEST_TIMING

TIMING = {**TEST_TIMING, "setup_retry_ms": 1000, "setup_retry_longest_ms": 4000}
MOUNT = "$AZ_BATCHAI_MOUNT_ROOT/afs"
AT = ["-g", "g", "-w", "w"]


def _create(lab, name, *flags):
    return lab.cli("cluster", "create", *AT, "-n", name, "--vm-size", lab.flavour, *flags)


def _show(lab, name):
    return lab.cli("cluster", "show", *AT, "-n", name, "-o", "json").json()


def _count(lab, name, state):
    return _show(lab, name)["nodeStateCounts"][f"{state}NodeCount"]


def _wait_count(lab, name, state, count, deadline_s=30):
    wait_until(lambda: _count(lab, name, state) == count, deadline_s, f"{count} {state} nodes in {name}", 0.05)


def _with_setup(lab, name, target, task, *flags):
    """A cluster with share s at $AZ_BATCHAI_MOUNT_ROOT/afs and a set-up task that writes there."""
    return _create(lab, name, "-t", target, "--setup-task", task, "--setup-task-output", MOUNT + "/setup",
                   "--storage-account-name", "a", "--afs-name", "s", *flags)


def _share(world, name):
    path = os.path.join(world.share, name)
    return open(path).read() if os.path.exists(path) else ""


def auto_scale():
    with Lab(nodes=4) as lab:
        world = World(lab, target=0)
        _create(lab, "auto", "--min", 0, "--max", 3, "--idle-seconds-before-scaledown", 2).ok()
        check(_show(lab, "auto")["scaleSettings"]["autoScale"] == {
            "idleTimeBeforeScaleDown": "PT2S", "initialNodeCount": 0, "maximumNodeCount": 3, "minimumNodeCount": 0},
            "the settings to be shown")
        world.create("j", world.body(nodes=2, command=wait_for_go()), cluster="auto").ok()
        world.wait_file("started.0")
        check(_show(lab, "auto")["currentNodeCount"] == 2, "as many nodes as the job needs")
        world.create("big", world.body(nodes=4, command="true"), cluster="auto").ok()
        check("maximum is 3" in world.job("big")["reason"], "a job that can never run to be told why")
        world.touch("go")
        world.succeed("j")
        wait_until(lambda: _show(lab, "auto")["currentNodeCount"] == 0, 20, "the idle nodes are given back", 0.1)
        check(_show(lab, "auto")["allocationState"] == "steady", "a steady cluster of no nodes")
        # To manual and back again.
        lab.cli("cluster", "resize", *AT, "-n", "auto", "-t", 4).ok()
        world.succeed("big")
        lab.cli("cluster", "auto-scale", *AT, "-n", "auto", "--min", 1, "--max", 2, "--idle-seconds-before-scaledown", 1).ok()
        wait_until(lambda: _show(lab, "auto")["currentNodeCount"] == 1, 20, "back to the minimum", 0.1)
        lab.cli("cluster", "auto-scale", *AT, "-n", "auto", "--min", 3, "--max", 2).failed("--max", "--min")


def setup_task_on_every_node():
    with Lab(nodes=2, timing=TIMING) as lab:
        world = World(lab, target=0)
        _with_setup(lab, "s", 2, f'echo "set up $(hostname) by $(id -un)"; echo oops >&2; echo once >> {MOUNT}/runs.$(hostname)',
                    "--bfs-name", "s", "--bfs-mount-path", "models/old").ok()
        _wait_count(lab, "s", "idle", 2)
        names = [file["name"] for file in lab.cli("cluster", "file", "list", *AT, "-c", "s", "-o", "json").json()]
        check(names == [f"{kind}-{node}.{end}" for kind, end in (("execution", "log"), ("stderr", "txt"), ("stdout", "txt"))
                        for node in lab.nodes], f"the task's files: {names}")
        stream = ["cluster", "file", "stream", *AT, "-c", "s", "-f"]
        check(lab.cli(*stream, "stdout-node1.txt").ok() == "set up node1 by root\n", "its output")
        check(lab.cli(*stream, "stderr-node2.txt").ok() == "oops\n", "its errors")
        lab.cli(*stream, "stdout-nobody.txt").failed("stdout-nobody.txt")
        # The cluster's volumes are there for jobs.
        world.create("j", world.body(nodes=1, command=f"cat {MOUNT}/runs.$(hostname); echo seen > {MOUNT}/job"), cluster="s").ok()
        world.succeed("j")
        check(world.output("j") == "once\n" and _share(world, "job") == "seen\n", "the volume in a job")
        # A job's output may lie on them, too, as in older recipes; a container is a share.
        world.create("m", world.body(nodes=2, mpi=True, command="cat $AZ_BATCHAI_MOUNT_ROOT/models/old/job",
                                     stdOutErrPathPrefix=MOUNT + "/joblogs"), cluster="s").ok()
        world.wait_end("m")
        out, _ = world.stream("m").communicate(timeout=60)
        check(out == "seen\nseen\n", f"the output from the cluster's volume: {out} {world.job('m')['executionInfo']}")
        # An agent that restarts sets nothing up again; a machine that boots does, and the first run's files are kept.
        lab.kill_agent("node1")
        lab.start_agent("node1")
        _wait_count(lab, "s", "idle", 2)
        check(_share(world, "runs.node1") == "once\n", "one run after a restart of the agent")
        lab.crash("node2")
        lab.boot("node2")
        wait_until(lambda: _share(world, "runs.node2") == "once\nonce\n", 30, "a second run after the boot")
        _wait_count(lab, "s", "idle", 2)
        check(lab.cli(*stream, "stdout-node2.txt").ok() == "set up node2 by root\n", "the newest run's output under its name")
        earlier = lab.cli("cluster", "file", "list", *AT, "-c", "s", "-p", "earlier", "-o", "json").json()
        check(len(earlier) == 1 and earlier[0]["fileType"] == "directory", f"the first run's files: {earlier}")
        lab.cli("cluster", "resize", *AT, "-n", "s", "-t", 0).ok()
        wait_until(lambda: _show(lab, "s")["currentNodeCount"] == 0, 20, "the nodes are given back", 0.1)
        for node in lab.nodes:
            mounts = lab.network.hosts[node].run(["cat", "/proc/self/mounts"]).stdout
            check("cluster/mounts/afs" not in mounts, f"nothing mounted on {node}: {mounts}")


def setup_survives_its_agent_and_ends_with_the_cluster():
    with Lab(nodes=1, timing=TIMING) as lab:
        world = World(lab, target=0)
        _with_setup(lab, "s", 1, f"echo once >> {MOUNT}/runs; while [ ! -e {MOUNT}/go ]; do sleep 0.05; done; sleep 1000 & disown; echo over").ok()
        world.wait_file("runs")
        check(_count(lab, "s", "preparing") == 1, "a node to be preparing while its task runs")
        lab.kill_agent("node1")
        lab.kill_controller()
        check(world.job_pids("node1"), "the task to go on without agent and controller")
        lab.start_controller()
        lab.start_agent("node1")
        world.touch("go")
        _wait_count(lab, "s", "idle", 1)
        check(_share(world, "runs") == "once\n", "exactly one run")
        check(world.job_pids("node1"), "what it left behind to live as long as the node is the cluster's")
        lab.cli("cluster", "delete", *AT, "-n", "s", "-y").ok()
        check(not world.job_pids("node1"), "nothing of it afterwards")
        # And in the middle of the task.
        os.remove(os.path.join(world.share, "go"))
        os.remove(os.path.join(world.share, "runs"))
        _with_setup(lab, "s", 1, f"echo once >> {MOUNT}/runs; while [ ! -e {MOUNT}/go ]; do sleep 0.05; done").ok()
        world.wait_file("runs")
        lab.cli("cluster", "resize", *AT, "-n", "s", "-t", 0).ok()
        wait_until(lambda: _show(lab, "s")["currentNodeCount"] == 0, 20, "the node is given back", 0.1)
        check(not world.job_pids("node1"), "the task killed with it")


def failed_setup_is_told_and_healed():
    with Lab(nodes=2, timing={**TIMING, "setup_retry_ms": 8000, "setup_retry_longest_ms": 8000}) as lab:
        world = World(lab, target=0)
        os.makedirs(world.share, exist_ok=True)  # before anything mounts it
        world.touch("broken")
        task = f"if [ $(hostname) = node2 ] && [ -e {MOUNT}/broken ]; then echo 'no such package: cuda-99' >&2; exit 3; fi"
        _with_setup(lab, "s", 2, task).ok()
        _wait_count(lab, "s", "unusable", 1)
        _wait_count(lab, "s", "idle", 1)
        shown = _show(lab, "s")
        error = shown["errors"][0]
        check(error["code"] == "SetupTaskFailed" and "exited with code 3" in error["message"] and "cuda-99" in error["message"], error)
        details = {detail["name"]: detail["value"] for detail in error["details"]}
        check(details == {"exitCode": "3", "node": "node2", "stderr": "no such package: cuda-99"}, details)
        check("node2 is unusable" in shown["reason"], shown["reason"])
        node = lab.cli("node", "show", "node2", "-o", "json").json()
        check(node["state"] == "unusable" and node["nextRepairTime"] and "cuda-99" in node["note"], node)
        # It heals by itself when the fault is gone.
        os.remove(os.path.join(world.share, "broken"))
        _wait_count(lab, "s", "idle", 2)
        check(_show(lab, "s")["errors"] is None, "no errors any more")
        lab.cli("node", "repair", "node2").failed("node2 is idle", "nothing to repair")


def repair_does_not_wait():
    with Lab(nodes=1, timing={**TIMING, "setup_retry_ms": 600000, "setup_retry_longest_ms": 600000}) as lab:
        world = World(lab, target=0)
        path = os.path.join(lab.root, "cluster.json")
        with open(path, "w") as file:
            file.write('{"properties": {"vmSize": "%s", "scaleSettings": {"manual": {"targetNodeCount": 1}}, "nodeSetup": {"setupTask": '
                       '{"commandLine": "[ -e $WHERE/fixed ] || sleep 1000", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/ext", '
                       '"timeLimit": "PT1S", "environmentVariables": [{"name": "WHERE", "value": "$AZ_BATCHAI_MOUNT_ROOT/ext"}]}, '
                       '"mountVolumes": {"azureFileShares": [{"accountName": "<AZURE_BATCHAI_STORAGE_ACCOUNT>", "azureFileUrl": '
                       '"https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/s", "relativeMountPath": "ext", "credentials": '
                       '{"accountKey": "<AZURE_BATCHAI_STORAGE_KEY>"}}]}}, "colour": "red"}}' % lab.flavour)
        created = lab.cli("cluster", "create", *AT, "-n", "s", "-f", path, "--storage-account-name", "a")
        created.ok()
        check("properties.colour: ignored" in created.err, f"a warning about the unknown key: {created.err}")
        _wait_count(lab, "s", "unusable", 1)
        error = _show(lab, "s")["errors"][0]
        check(error["code"] == "SetupTaskTimeLimit" and "PT1S" in error["message"], error)
        check(not world.job_pids("node1"), "the task killed at its time limit")
        world.touch("fixed")
        lab.cli("node", "repair", "node1").ok()
        _wait_count(lab, "s", "idle", 1)


def low_priority_nodes_are_taken_back():
    with Lab(nodes=2) as lab:
        world = World(lab, target=0)
        _create(lab, "spot", "-t", 2, "--vm-priority", "lowpriority").ok()
        _wait_count(lab, "spot", "idle", 2)
        # The grace signal: what a job does then is its own affair; here it leaves a checkpoint.
        command = (f"trap 'echo saved > {SHARE}/checkpoint; exit 1' TERM; touch {SHARE}/started; "
                   f"while [ ! -e {SHARE}/go ]; do sleep 0.05; done; cat {SHARE}/checkpoint")
        world.create("j", world.body(nodes=2, command=command, recovery={"grace": "PT10S", "maxRequeues": 0}), cluster="spot").ok()
        world.wait_file("started")
        _create(lab, "urgent", "-t", 1).ok()
        _wait_count(lab, "urgent", "idle", 1)
        job = world.wait_for("j", "queued")
        check(job["attempt"] == 1 and "low-priority cluster spot was taken back for cluster urgent" in job["reason"], job["reason"])
        check(_share(world, "checkpoint") == "saved\n", "the job to have been signalled before it was killed")
        timeline = lab.cli("job", "timeline", *world.at("j"), "-o", "json").json()
        check(any("was taken back for cluster urgent" in line["why"] for line in timeline), timeline)
        check("target 2, has 1: inventory has 0 free" in _show(lab, "spot")["reason"], _show(lab, "spot")["reason"])
        world.touch("go")
        lab.cli("cluster", "delete", *AT, "-n", "urgent", "-y").ok()
        job = world.succeed("j")
        check(job["attempt"] == 2 and job["requeues"] == 0 and world.output("j") == "saved\n", job)


if __name__ == "__main__":
    main(globals())
