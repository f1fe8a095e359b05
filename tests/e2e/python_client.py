#!/usr/bin/python3
"""The Python client against the real controller: the README's ten lines, restarts, files both ways."""
import os
import re
import subprocess
import sys

from e2e import CHECKOUT, SHARE, Lab, World, build_directory, check, main, wait_for_go, wait_until

sys.path.insert(0, os.path.join(CHECKOUT, "deploy"))
from quickstart import prepare_folder  # noqa: E402
from hosts import join_cgroup  # noqa: E402

JOB = 'ty.jobs.get("g", "w", "x", "j")'


def _start(lab, script, folder=None):
    """A Python program of a user, on the controller's host."""
    head = lab.network.hosts["head"]
    argv = head.command(["/usr/bin/python3", "-u", "-c", script], ["-n", "-m"])
    argv.insert(1, f"--wd={folder or lab.root}")
    environment = {**lab.environment("head"), "PYTHONPATH": os.path.join(build_directory(), "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(argv, text=True, env=environment, preexec_fn=join_cgroup(head.cgroup), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _run(lab, script, folder=None, timeout=90):
    process = _start(lab, script, folder)
    out, err = process.communicate(timeout=timeout)
    check(process.returncode == 0, f"the program to end well: {out}{err}")
    return out


def _connected(body):
    return "import json\nimport trainyard\nwith trainyard.connect() as ty:\n" + "\n".join("    " + line for line in body.strip().split("\n"))


def tutorial_in_ten_lines():
    with open(os.path.join(CHECKOUT, "clients", "python", "README.md")) as file:
        tutorial = re.search(r"```python\n(.*?)```", file.read(), re.S).group(1)
    check(len(tutorial.strip().split("\n")) == 10, "ten lines")
    with Lab(nodes=4) as lab:
        folder = prepare_folder(lab)
        out = _run(lab, tutorial, folder, timeout=150)
        check("Test accuracy: " in out, f"the training's output: {out[-300:]}")
        check(os.path.getsize(os.path.join(folder, "models", "keras_cifar10_trained_model.h5")) > 10000, "the model")
        with open(os.path.join(folder, "logs", "stdout.txt")) as file:
            check("Test accuracy: " in file.read(), "the job's files")
        # What the command line sees is the same.
        job = lab.cli("job", "show", "-g", "batchai.horovod", "-w", "batchaidev", "-e", "cifar", "-n", "cifar_distributed", "-o", "json").json()
        check(job["executionState"] == "succeeded" and job["nodeCount"] == 4, f"a job as of the command line: {job['executionState']}")
        _run(lab, _connected('ty.clusters.resize("batchai.horovod", "batchaidev", "nc6cluster", 0)\nty.groups.delete("batchai.horovod", timeout=30)'))
        check(lab.cli("group", "list", "-o", "json").json() == [], "no group left")


def a_dict_or_a_file():
    with Lab(nodes=1) as lab:
        world = World(lab)
        out = _run(lab, _connected(f'''
body = {world.body(command="echo $WHAT; exit 7", variables={"WHAT": "said"})!r}
job = ty.jobs.submit("g", "w", "x", "j", body, cluster="c")
print(list(job.stream()))
ended = job.wait(timeout=60)
print(ended.execution_state, ended.execution_info.exit_code, job.state)
again = job.rerun()
print(again.name, again.wait(timeout=60).execution_info.exit_code, again.show().rerun_of)
try:
    job.wait(check=True)
except trainyard.JobFailed as failed:
    print("JobFailed:", failed.exit_code)
print(sorted(file.name for file in job.list_files()))
for change, value in (("nodeCuont", 1), ("nodeCount", "one"), ("pyTorchSetings", {{}})):
    try:
        ty.jobs.submit("g", "w", "x", "bad", {{"properties": dict(body["properties"], **{{change: value}})}}, cluster="c")
    except trainyard.TrainyardError as error:
        print(error.code, error)
with open("old.json", "w") as file:
    json.dump({{"properties": dict(body["properties"], nodeCuont=1)}}, file)
ty.jobs.translate("old.json", cluster="c")
try:
    ty.jobs.translate("old.json", cluster="c", strict=True)
except trainyard.TrainyardError as error:
    print("strict:", error)
spec = ty.jobs.translate(body, cluster="c")
spec.command_line = "true"
print(ty.jobs.submit("g", "w", "x", "changed", spec).wait(timeout=60).execution_state)
'''))
        for words in ("['said']", "failed 7 failed", "j-2 7 j", "JobFailed: 7", "'stderr.txt', 'stdout.txt'", "properties.nodeCuont", "properties.nodeCount",
                      "properties.pyTorchSetings", "strict: properties.nodeCuont", "succeeded"):
            check(words in out, f"{words!r} in: {out}")
        check(out.count("INVALID_ARGUMENT") == 3, f"each bad file refused by its field: {out}")


def restarts_are_not_seen():
    """The controller is killed while a program waits, streams and calls: nothing is lost, doubled or done twice."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("j", nodes=2, mpi=True, command="echo before; " + wait_for_go() +
                     'if [ $OMPI_COMM_WORLD_RANK = 0 ]; then for i in $(seq 1000); do echo line $i; done; fi')
        world.wait_file("started.1")
        stream = _start(lab, _connected(f'for line in {JOB}.stream(): print(line)'))
        wait = _start(lab, _connected(f'print({JOB}.wait().execution_state)'))
        check(stream.stdout.readline() == "before\n", "the first line")
        lab.kill_controller()
        create = _start(lab, _connected('print(ty.groups.create("later").name)'))
        lab.start_controller()
        check(create.communicate(timeout=30)[0] == "later\n", f"the call to be repeated: {create.returncode}")
        lab.kill_agent(world.job("j")["nodes"][0])
        lab.start_agent(world.job("j")["nodes"][0])
        lab.wait_reachable(2)
        world.touch("go")
        out = stream.stdout.read()
        check(stream.wait(timeout=20) == 0, f"the stream to end well: {stream.stderr.read()}")
        check("before\n" + out == "before\n" * 2 + "".join(f"line {i}\n" for i in range(1, 1001)), f"every line once: {out[:100]!r}")
        check(wait.communicate(timeout=30)[0] == "succeeded\n", "the wait to go on")


def files_both_ways():
    with Lab(nodes=1) as lab:
        world = World(lab)
        tree = os.path.join(lab.root, "tree")
        os.makedirs(os.path.join(tree, "deep", "er"))
        big = os.urandom(1 << 20) * 64
        for name, data in (("a.txt", b"a"), ("deep/empty", b""), ("deep/er/big.bin", big)):
            with open(os.path.join(tree, name), "wb") as file:
                file.write(data)
        out = _run(lab, _connected(f'''
print(ty.storage.upload("a", "s", "up", {tree!r}))
print(ty.storage.upload("a", "s", "up", {os.path.join(tree, "a.txt")!r}))
print(sorted(e.name for e in ty.storage.list_files("a", "s", "up")))
'''))
        check(out == f"{len(big) + 1}\n1\n['a.txt', 'deep']\n", f"the upload: {out}")
        back = os.path.join(lab.root, "back")
        script = _connected(f'print(len(ty.storage.download("a", "s", "up", to={back!r})))')
        part = os.path.join(back, "deep", "er")

        def has_begun():
            names = os.listdir(part) if os.path.isdir(part) else []
            return any(name.endswith(".part") and os.path.getsize(os.path.join(part, name)) > 1 << 20 for name in names)

        process = _start(lab, script)
        wait_until(has_begun, 20, "the download is under way", 0.001)
        process.kill()
        process.wait()
        had = sum(os.path.getsize(os.path.join(part, name)) for name in os.listdir(part))
        check(0 < had < len(big), f"a part of it: {had}")
        inode = [os.stat(os.path.join(part, name)).st_ino for name in os.listdir(part)]
        check(_run(lab, script) == "3\n", "the rest")
        check(inode == [os.stat(os.path.join(part, name)).st_ino for name in os.listdir(part)], "the same file to have grown")
        for name in ("a.txt", "deep/empty", "deep/er/big.bin"):
            with open(os.path.join(tree, name), "rb") as one, open(os.path.join(back, name), "rb") as other:
                check(one.read() == other.read(), f"{name} as it was")
        world.submit("j", command="mkdir -p $AZ_BATCHAI_OUTPUT_MODEL/m; echo model > $AZ_BATCHAI_OUTPUT_MODEL/m/x",
                     outputDirectories=[{"id": "MODEL", "pathPrefix": SHARE}])
        world.succeed("j")
        _run(lab, _connected(f'print({JOB}.download(to={back!r}, directory_id="MODEL"))'))
        with open(os.path.join(back, "m", "x")) as file:
            check(file.read() == "model\n", "an output directory")


def clusters_nodes_and_commands():
    """What the command line does, in Python: a cluster from a dict, its set-up's files, commands in jobs and on nodes, usages, a
    share's end; and the defaults of `trainyard configure`."""
    with Lab(nodes=3) as lab:
        world = World(lab, target=2)
        lab.cli("configure", "--defaults", "group=g", "workspace=w", "experiment=x", f"controller={lab.controller}").ok()
        setup = {"setupTask": {"commandLine": "echo set up $TRAINYARD_NODE", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/s"},
                 "mountVolumes": {"azureFileShares": [{"azureFileUrl": "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/s",
                                                       "relativeMountPath": "s"}]}}
        cluster = {"properties": {"vmSize": lab.flavour, "scaleSettings": {"manual": {"targetNodeCount": 5}}, "nodeSetup": setup}}
        world.submit("j", command=wait_for_go(), variables={"GREETING": "hello"})
        world.wait_file("started.0")
        back = os.path.join(lab.root, "back")
        out = _run(lab, f"""
import io, json, os
del os.environ["TRAINYARD_CONTROLLER"]
import trainyard
kept = trainyard.defaults()
where = (kept.group, kept.workspace)
with trainyard.connect() as ty:
    print(kept.controller == {lab.controller!r}, kept.group, kept.workspace, kept.experiment)
    print(ty.clusters.create(*where, "d", target=1, spec={cluster!r}, storage_account="a").spec.target_node_count)
    for change, value in (("vmSise", "x"), ("vmSize", 3)):
        try:
            ty.clusters.create(*where, "bad", spec={{"properties": dict({cluster!r}["properties"], **{{change: value}})}}, storage_account="a")
        except trainyard.TrainyardError as error:
            print(error.code, error)
    with open("cluster.json", "w") as file:
        json.dump({cluster!r}, file)
    print(ty.clusters.translate("cluster.json", storage_account="a").node_setup.setup_task.command_line)
    ty.clusters.wait_idle(*where, "d", 1, timeout=40)
    node = ty.clusters.nodes(*where, "d")[0].node_id
    names = sorted(entry.name for entry in ty.clusters.list_files(*where, "d"))
    print(names == [f"{{kind}}-{{node}}.{{end}}" for kind, end in (("execution", "log"), ("stderr", "txt"), ("stdout", "txt"))])
    print(b"".join(ty.clusters.read(*where, "d", f"stdout-{{node}}.txt")) == f"set up {{node}}\\n".encode())
    print(len(ty.clusters.download(*where, "d", to={back!r})) == 3)
    job = ty.jobs.get(*where, kept.experiment, "j")
    said = job.exec("echo $GREETING; cat; echo to stderr >&2; exit 3", stdin=b"from here")
    print(said.exit_code, said.stdout, said.stderr, said.node == job.nodes()[0].node_id)
    whole = io.BytesIO()
    print(ty.clusters.exec(*where, "d", "id -u; head -c 1000000 /dev/zero", node=node, stdout=whole).stdout, len(whole.getvalue()), whole.getvalue()[:2])
    try:
        job.exec("sleep 1000", timeout=1)
    except TimeoutError as error:
        print(error)
    for ask in (lambda: job.exec("true", node="none"), lambda: ty.nodes.repair(node), lambda: ty.storage.delete_share("a", "s")):
        try:
            ask()
        except trainyard.TrainyardError as error:
            print(error.code, error)
    print([line.why for line in job.timeline() if line.what.startswith("exec on")][1])
    print(ty.nodes.show(node).state, {{usage.name: usage.current_value for usage in ty.usages.list()}}["Clusters"], len(ty.usages.operations()) > 10)
    print(ty.file_servers.list(*where), dict(ty.workspaces.update(*where, {{"a": "b"}}).tags))
    job.terminate()
    job.wait(timeout=40)
    ty.clusters.delete(*where, "d", timeout=40)
    ty.storage.delete_share("a", "s", timeout=60)
    print(ty.storage.list_shares("a"), [account.name for account in ty.storage.list_accounts("g")])
""")
        for words in ("True g w x\n1\n", "INVALID_ARGUMENT properties.vmSise", "INVALID_ARGUMENT properties.vmSize", "echo set up $TRAINYARD_NODE\nTrue\nTrue\nTrue\n",
                      "3 b'hello\\nfrom here' b'to stderr\\n' True\n", "b'' 1000002 b'0\\n'\n", "has not ended within 1 s, and was killed\n", "NOT_FOUND node none",
                      "FAILED_PRECONDITION share s of storage account a is mounted by job g/w/x/j, cluster g/w/d", "sleep 1000\n", "idle 2 True\n", "[] {'a': 'b'}\n",
                      "[] ['a']\n"):
            check(words in out, f"{words!r} in: {out}")
        check(not os.path.exists(world.share), "the share's directory is gone")


if __name__ == "__main__":
    main(globals())
