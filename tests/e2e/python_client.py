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
        for words in ("['said']", "failed 7 failed", "JobFailed: 7", "'stderr.txt', 'stdout.txt'", "properties.nodeCuont", "properties.nodeCount",
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


if __name__ == "__main__":
    main(globals())
