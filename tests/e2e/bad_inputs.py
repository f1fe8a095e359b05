#!/usr/bin/python3
"""One bad input, one clear error; and the system goes on."""
import json

from e2e import SHARE, Lab, World, check, main, os


def _file_errors(world):
    world.create("j", '{"properties": {').failed("json")
    world.create("j", "[]").failed()
    world.create("j", "{}").failed("properties")
    world.create("j", world.body(nodes=1)).failed("toolkit")
    world.create("j", world.body(nodes=1, fancySettings={"x": 1})).failed("fancySettings")
    world.create("j", world.body(nodes=1, command="true", nodeCount=0)).failed("nodeCount")
    world.create("j", world.body(nodes=1, command="true", nodeCount=-1)).failed("nodeCount")
    world.create("j", world.body(nodes=1, command="true", nodeCount="four")).failed("nodeCount")
    world.create("j", world.body(nodes=1, command="true", pyTorchSettings={"pythonScriptFilePath": "x"})).failed("more than one toolkit", "pyTorchSettings")
    reference = {"name": "A", "valueSecretReference": {"secretUrl": "https://vault/a"}}
    world.create("j", world.body(nodes=1, command="true", secrets=[reference])).failed("not supported yet", "properties.secrets[0].valueSecretReference")
    world.create("j", world.body(nodes=1, command="true", secrets=[{"name": "A", "value": ""}])).failed("properties.secrets[0].value")
    unmapped = {"imageSourceRegistry": {"image": "nobody/knows:1"}}
    text = world.create("j", world.body(nodes=1, command="true", containerSettings=unmapped)).failed("nobody/knows:1", "image")
    check("operator" in text.lower() or "map" in text.lower(), f"advice about the image map: {text}")
    big = world.body(nodes=1, command="true", variables={"BIG": "x" * (5 * 1024 * 1024)})
    world.create("j", big).failed("MB")
    missing = world.lab.cli("job", "create", *world.at("j"), "-c", "c", "-f", "/nowhere/job.json").failed("/nowhere/job.json")
    check(len(missing.strip().splitlines()) <= 3, f"a short error: {missing}")


def _names(world):
    for name in ("a b", "a.b", "", "x" * 65, "jöb", "../j"):
        result = world.lab.cli("job", "create", "-g", "g", "-w", "w", "-e", "x", "-n", name, "-c", "c", "-f", os.path.join(world.lab.root, "job-j.json"))
        check(result.rc != 0, f"the name {name!r} to be refused")
    world.create("ok", world.body(command="true"), cluster="none").failed("none")
    world.lab.cli("job", "show", "-g", "g", "-w", "w", "-e", "x", "-n", "nobody").failed("nobody")
    world.lab.cli("job", "show", "-g", "g", "-w", "w", "-e", "nowhere", "-n", "j").failed("nowhere")


def errors():
    with Lab(nodes=2) as lab:
        world = World(lab)
        _file_errors(world)
        _names(world)
        check(lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json() == [], "no job made by a bad input")
        world.submit("good", command="echo fine")
        world.succeed("good")


def duplicate_name():
    """The same name again: the same answer when the body is the same, ALREADY_EXISTS otherwise."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        first = world.create("j", world.body(command="echo 1"), "-o", "json").json()
        again = world.create("j", world.body(command="echo 1"), "-o", "json").json()
        check(first["number"] == again["number"], "the same job")
        world.create("j", world.body(command="echo 2")).failed("exists")
        world.succeed("j")
        check(world.output("j") == "1\n", "run once")


def too_many_nodes():
    """More nodes than the cluster has: accepted with a warning, and it says why it waits."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        result = world.create("j", world.body(nodes=5, command="true", mpi=True))
        result.ok()
        check("5" in result.err and "warning" in result.err.lower(), f"a warning with the number: {result.err}")
        job = world.job("j")
        check(job["executionState"] == "queued" and "5" in job["reason"], f"why it waits: {job['reason']}")
        world.submit("other", command="true")
        world.succeed("other")  # nothing waits behind a job that can never start
        world.terminate("j").ok()
        check(world.state("j") == "failed", "terminated")


def missing_script():
    with Lab(nodes=2) as lab:
        world = World(lab)
        settings = {"pythonScriptFilePath": SHARE + "/none.py", "pythonInterpreterPath": "/usr/bin/python3"}
        world.create("j", world.body(nodes=2, horovodSettings=settings)).ok()
        job = world.wait_end("j")
        check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] not in (0, None), f"a failure: {job['executionInfo']}")
        check("none.py" in world.output("j", "stderr.txt") + json.dumps(job["executionInfo"]), "the script to be named")
        check(job["attempt"] == 1, "a user's mistake is not tried again")


if __name__ == "__main__":
    main(globals())
