#!/usr/bin/python3
"""Secrets of jobs and of set-up tasks: every process has them; nothing else does. A canary is looked for in the database and
its log, the agents' spools and directories, all logs, argument lists, answers and events."""
import hashlib
import json
import subprocess

from e2e import SHARE, Lab, World, check, main, os, wait_for_go, wait_until

CANARY = "canary-5e1f'\"$HOME $(id) \\ end"
DIGEST = hashlib.sha256(CANARY.encode()).hexdigest()
SHOW_DIGEST = "printf %s \"$TOKEN\" | sha256sum | cut -d' ' -f1"


def _files_with(text, *roots):
    found = subprocess.run(["grep", "-rlaF", "--", text, *roots], capture_output=True, text=True, check=False)
    check(found.returncode in (0, 1), f"grep to look through everything: {found.stderr[:300]}")
    return found.stdout.split()


def _argument_lists():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                yield pid, file.read().decode(errors="replace")
        except OSError:
            pass


def _in_memory(lab, node):
    return f"/proc/{lab.agent_pid(node)}/root/run/trainyard"


def _nowhere(lab, world, answers):
    """The canary's recognisable part is in none of the places where people and programs could read it."""
    part = "canary-5e1f"
    os.remove(os.path.join(lab.root, "job-j.json"))  # the user's own file
    check(not _files_with(part, lab.root), f"no file with a secret: {_files_with(part, lab.root)}")
    check(not [pid for pid, line in _argument_lists() if part in line], "no argument list with a secret")
    for answer in answers:
        check(part not in answer, f"no answer with a secret: {answer[:300]}")
    check(os.path.exists(os.path.join(lab.root, "controller")), "the lab's files to be where they were looked for")


def a_job_has_them_and_nothing_else():
    """Preparation, head, ranks on all nodes and `exec` see a job's secrets; over agents' and the controller's kill -9."""
    with Lab(nodes=3) as lab:
        world = World(lab, target=2)
        command = ("echo digest $(" + SHOW_DIGEST + ") on $TRAINYARD_NODE; " + wait_for_go(rank="${OMPI_COMM_WORLD_RANK}"))
        body = world.body(nodes=2, command=command, mpi=True, preparation="echo prep $(" + SHOW_DIGEST + ")", secrets=[{"name": "TOKEN", "value": CANARY}])
        answers = [world.create("j", body).ok()]
        world.wait_file("started.0")
        world.wait_file("started.1")
        nodes = world.job("j")["nodes"]
        inside = lab.cli("job", "node", "exec", "-g", "g", "-w", "w", "-e", "x", "-j", "j", "-n", nodes[1], "--exec", SHOW_DIGEST).ok()
        check(inside.strip() == DIGEST, f"exec to see what the job sees: {inside}")
        check(_files_with("canary-5e1f", _in_memory(lab, nodes[1])), "the canary to be found where it must be: in memory, for the node's shims")
        lab.kill_controller()
        lab.kill_agent(nodes[1])
        _nowhere(lab, world, answers)
        lab.start_controller()
        lab.start_agent(nodes[1])
        answers += [lab.cli("job", verb, *world.at("j"), "-o", "json").ok() for verb in ("show", "timeline")]
        answers.append(lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").ok())
        check(json.loads(answers[1])["secrets"] == [{"name": "TOKEN", "value": None}], "the name to be shown, without the value")
        world.touch("go")
        world.succeed("j")
        out = world.output("j")
        for node in nodes:
            check(f"digest {DIGEST} on {node}" in out, f"the rank on {node} to have the secret: {out}")
            check(f"prep {DIGEST}" in world.output("j", f"stdout-job_prep-{node}.txt"), "the preparation to have it")
        for node in lab.nodes:
            check(not _files_with("canary-5e1f", _in_memory(lab, node)), f"nothing in {node}'s memory after the end")

        again = lab.cli("job", "rerun", *world.at("j"), "-o", "json").ok()
        check(json.loads(again)["rerunOf"] == "j" and json.loads(again)["name"] == "j-2", f"a re-run: {again}")
        world.succeed("j-2")
        check(f"digest {DIGEST} on" in world.output("j-2"), "a re-run to have the secrets of the first")


def a_lost_key_is_said():
    """Without the key of its secrets a job fails and says why; other jobs run."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("first", command=wait_for_go())
        world.wait_file("started.0")
        world.submit("j", command="true", secrets=[{"name": "TOKEN", "value": CANARY}])
        lab.kill_controller()
        os.remove(os.path.join(lab.root, "controller", "secrets.key"))
        lab.start_controller()
        world.touch("go")
        world.succeed("first")
        job = world.wait_end("j")
        error = job["executionInfo"]["errors"][0]
        check(error["code"] == "SecretUnavailable" and "could not open secret TOKEN" in error["message"], f"the reason: {job['executionInfo']}")
        check("is not in the controller's key file" in lab.log_of("head"), "the controller's log to say which key")


def a_set_up_task_has_them():
    """secrets of nodeSetup.setupTask."""
    with Lab(nodes=2) as lab:
        world = World(lab, target=0)
        path = os.path.join(lab.root, "cluster.json")
        task = {"commandLine": "echo digest $(" + SHOW_DIGEST + ")", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/s/setup",
                "secrets": [{"name": "TOKEN", "value": CANARY}]}
        share = {"azureFileUrl": "https://a.file.core.windows.net/s", "relativeMountPath": "s"}
        with open(path, "w") as file:
            json.dump({"properties": {"vmSize": lab.flavour, "scaleSettings": {"manual": {"targetNodeCount": 2}},
                                      "nodeSetup": {"setupTask": task, "mountVolumes": {"azureFileShares": [share]}}}}, file)
        lab.cli("cluster", "create", "-g", "g", "-w", "w", "-n", "s", "-f", path, "--storage-account-name", "a", "-u", "me", "-p", "p").ok()
        os.remove(path)

        def cluster():
            return lab.cli("cluster", "show", "-g", "g", "-w", "w", "-n", "s", "-o", "json").json()

        wait_until(lambda: cluster()["nodeStateCounts"]["idleNodeCount"] == 2, 30, "two nodes to be set up")
        shown = cluster()["nodeSetup"]["setupTask"]
        check(shown["secrets"] == [{"name": "TOKEN", "value": None}], f"the name without the value: {shown}")
        base = os.path.join(world.share, "setup", shown["stdOutErrPathSuffix"])
        for node in lab.nodes:
            check(f"digest {DIGEST}" in open(os.path.join(base, f"stdout-{node}.txt")).read(), f"the task on {node} to have it")
        check(not _files_with("canary-5e1f", lab.root), f"no file with a secret: {_files_with('canary-5e1f', lab.root)}")


if __name__ == "__main__":
    main(globals())
