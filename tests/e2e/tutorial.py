#!/usr/bin/python3
"""The tutorial, command for command, and what its reader would see."""
import hashlib
import re
import shlex
import sys

from e2e import CHECKOUT, Lab, check, main, os, wait_until

sys.path.insert(0, os.path.join(CHECKOUT, "deploy"))
from quickstart import prepare_folder, run_answering, tutorial_commands  # noqa: E402

JOB_AT = ["-g", "batchai.horovod", "-w", "batchaidev", "-e", "cifar"]


def _next(commands, *starts):
    words = commands.pop(0)
    check(words[:len(starts)] == list(starts), f"the tutorial to go on with {starts}, not {words}")
    return words


def _create_and_fill(lab, commands, folder):
    for starts in (("group", "create"), ("workspace", "create"), ("experiment", "create"), ("cluster", "create")):
        lab.cli(*_next(commands, *starts), cwd=folder).ok()
    show = _next(commands, "cluster", "show")

    def row():
        lines = lab.cli(*show, cwd=folder).ok().splitlines()
        check(re.split(r"\s{2,}", lines[0].strip()) == ["Name", "Resource Group", "Workspace", "VM Size", "State", "Idle", "Running",
                                                        "Preparing", "Leaving", "Unusable"], f"the tutorial's columns: {lines[0]}")
        return re.split(r"\s{2,}", lines[2].strip().upper())

    wait_until(lambda: row() == ["NC6CLUSTER", "BATCHAI.HOROVOD", "BATCHAIDEV", "STANDARD_NC6", "STEADY", "4", "0", "0", "0", "0"],
               20, "the cluster is steady with four idle nodes", 0.05)
    for starts in (("storage", "account"), ("storage", "share"), ("storage", "directory"), ("storage", "file", "upload")):
        lab.cli(*_next(commands, *starts), cwd=folder).ok()


def _job_state(lab):
    return lab.cli("job", "show", *JOB_AT, "-n", "cifar_distributed", "--query", "executionState", "-o", "tsv").ok().strip()


def _watch(lab, commands, folder):
    check(lab.cli(*_next(commands, "job", "create"), cwd=folder).json()["name"] == "cifar_distributed", "the created job to be shown")
    wait_until(lambda: _job_state(lab) == "running", 60, "the job runs", 0.05)
    check(lab.cli(*_next(commands, "job", "show"), cwd=folder).ok().strip() == '"running"', "the state as JSON")
    counts = lab.cli(*_next(commands, "cluster", "show"), cwd=folder).json()
    check(counts["runningNodeCount"] == 4 and counts["idleNodeCount"] == 0, f"four running nodes: {counts}")
    listing = _next(commands, "job", "file", "list")
    stream = lab.cli_process(*_next(commands, "job", "file", "stream"), cwd=folder)
    first = stream.stdout.readline()
    check("4 workers" in first and _job_state(lab) == "running", f"live output while the job runs: {first}")
    names = {line.split()[0] for line in lab.cli(*listing, cwd=folder).ok().splitlines()[2:]}
    nodes = [f"node{n}" for n in range(1, 5)]
    wanted = {"stdout.txt", "stderr.txt"} | {f"execution-{n}.log" for n in nodes} | {f"std{s}-job_prep-{n}.txt" for s in ("out", "err") for n in nodes}
    # Files as in the tutorial, and one directory that Batch AI did not have (docs/decisions/0029).
    names -= {"ranks"}
    check(names == wanted, f"the tutorial's file names {sorted(wanted)}, got {sorted(names)}")
    rest = stream.stdout.read()
    check(stream.wait(timeout=10) == 0, f"the stream to end well: {stream.stderr.read()}")
    return first + rest


def whole_tutorial():
    with Lab(nodes=4) as lab:
        folder, commands = prepare_folder(lab), tutorial_commands()
        with open(os.path.join(folder, "job.json"), "rb") as file:
            check(hashlib.sha256(file.read()).hexdigest().startswith(_published()), "the tutorial's own job.json")
        _create_and_fill(lab, commands, folder)
        output = _watch(lab, commands, folder)
        accuracy = float(re.search(r"Test accuracy: ([0-9.]+)", output).group(1))
        check(accuracy >= 0.94 and "Test loss: " in output, f"test accuracy of at least 0.94: {accuracy}")
        wait_until(lambda: _job_state(lab) == "succeeded", 30, "the job succeeds", 0.05)
        receipts = lab.cli("job", "show", *JOB_AT, "-n", "cifar_distributed", "-o", "json").json()["cleanupReceipts"]
        check(sorted(r["node"] for r in receipts) == ["node1", "node2", "node3", "node4"], f"a receipt per node: {receipts}")
        lab.cli(*_next(commands, "storage", "file", "download"), cwd=folder).ok()
        check(os.path.getsize(os.path.join(folder, "keras_cifar10_trained_model.h5")) > 10000, "the model")
        lab.cli(*_next(commands, "cluster", "resize"), cwd=folder).ok()
        wait_until(lambda: all(n["state"] == "unassigned" for n in lab.cli("node", "list", "-o", "json").json()), 20, "nodes are back")
        _delete_group(lab, _next(commands, "group", "delete"), folder)
        check(not commands, "all of the tutorial")


def _published():
    text = open(os.path.join(CHECKOUT, "tests", "tidy", "tidy_test.py")).read()
    return re.search(r'job.json": "([0-9a-f]+)"', text).group(1)


def _delete_group(lab, words, folder):
    lab.cli(*words, cwd=folder).failed("use -y")  # no terminal: it cannot ask
    check(lab.cli("group", "list", "-o", "tsv").ok().strip(), "the group is still there")
    check(run_answering(lab, words, folder, "n") != 0, "n to be an answer, too")
    check(run_answering(lab, words, folder, "y") == 0, "y to delete")
    check(lab.cli("group", "list", "-o", "json").json() == [], "no group left")


def share_with_no_cluster():
    """Controller and command line never see the directory, and no node is in a cluster: an agent's helper opens it."""
    with Lab(nodes=2) as lab:
        head = lab.network.hosts["head"]
        check(head.run(["ls", lab.storage]).stdout == "", "no share directory on the controller's host")
        lab.cli("group", "create", "-n", "g").ok()
        lab.cli("storage", "account", "create", "-g", "g", "-n", "a").ok()
        lab.cli("storage", "share", "create", "-n", "s", "--account-name", "a").ok()
        lab.cli("storage", "directory", "create", "-n", "d", "--share-name", "s", "--account-name", "a").ok()
        big = os.path.join(lab.root, "big")
        with open(big, "wb") as file:
            file.write(os.urandom(9 * 1024 * 1024 + 17))
        lab.cli("storage", "file", "upload", "--path", "d", "--share-name", "s", "--account-name", "a", "--source", big).ok()
        back = os.path.join(lab.root, "back")
        lab.cli("storage", "file", "download", "--path", "d/big", "--share-name", "s", "--account-name", "a", "--dest", back).ok()
        check(open(big, "rb").read() == open(back, "rb").read(), "the same bytes back")
        listed = lab.cli("storage", "file", "list", "--path", "d", "--share-name", "s", "--account-name", "a", "-o", "json").json()
        check([f["name"] for f in listed] == ["big"], f"a listing: {listed}")
        lab.cli("storage", "file", "download", "--path", "d/none", "--share-name", "s", "--account-name", "a").failed("d/none")
        lab.cli("storage", "file", "download", "--path", "../../../etc/passwd", "--share-name", "s", "--account-name", "a").failed()
        check(head.run(["ls", lab.storage]).stdout == "", "still no share directory on the controller's host")


def help_everywhere():
    """Every command has a --help with an example, and the common flags in their long and short forms."""
    with Lab(nodes=1) as lab:
        commands = [words[:3] if words[1] in ("file", "account", "share", "directory") else words[:2] for words in tutorial_commands()]
        commands += [["job", c] for c in ("list", "terminate", "delete", "wait")] + [["node", "list"], ["node", "fence"], ["cluster", "list"],
                                                                                     ["cluster", "delete"], ["workspace", "list"]]
        for words in commands:
            text = lab.cli(*words, "--help").ok()
            check("trainyard " + shlex.join(words) in text, f"an example in `trainyard {shlex.join(words)} --help`")
        lab.cli("group", "create", "--name", "g").ok()
        lab.cli("workspace", "create", "--resource-group", "g", "--workspace", "w").ok()
        lab.cli("workspace", "show", "-g", "g", "-n", "w", "--output", "table").ok()
        check(lab.cli("workspace", "list", "-g", "g", "-o", "tsv").ok().split("\t")[0], "tab separated values")


if __name__ == "__main__":
    main(globals())
