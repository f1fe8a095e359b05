#!/usr/bin/python3
"""The second half of deploy/quickstart: a cluster on pretend hosts, and the tutorial on it. Needs a finished build."""
import os
import pty
import select
import shlex
import shutil
import signal
import sys
import time

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(CHECKOUT, "tests", "support", "netlab"))
from lab import LABS, PREFIX, Lab, LabError, stop_kept, wait_until  # noqa: E402

KEPT = "quickstart"
NODES = 4
# How a real installation would be set, but for the times: this cluster is to be looked at, not waited for.
TIMING = {"heartbeat_ms": 1000, "unreachable_after_ms": 5000, "gang_abort_after_ms": 10000, "kill_time_ms": 10000, "prepare_limit_ms": 600000}

# What each command of the tutorial does, in its order.
EXPLAINED = [
    ("group create", "A resource group holds everything that belongs together; deleting it deletes all of it."),
    ("workspace create", "A workspace holds clusters and experiments."),
    ("experiment create", "An experiment holds jobs."),
    ("cluster create", "A cluster takes four nodes of this flavour from the inventory of joined machines."),
    ("cluster show", "The cluster gets its nodes: from `resizing` to `steady` with 4 idle."),
    ("storage account create", "A storage account is a name for a place the operator configured (here: a local directory)."),
    ("storage share create", "A share is a volume under it, which jobs can mount."),
    ("storage directory create", "Only an agent opens the share: controller and command line never see the directory."),
    ("storage file upload", "The training program goes to the share, in chunks through an agent."),
    ("job create", "The job, with the tutorial's own job.json. Its image is mapped to \"run on the host\" here."),
    ("job show", "What state is it in?"),
    ("cluster show", "Four nodes run it."),
    ("job file list", "Its files, under the names Batch AI gave them."),
    ("job file stream", "The output, live, until the job ends."),
    ("storage file download", "The trained model comes back."),
    ("cluster resize", "The nodes go back to the inventory."),
    ("group delete", "Everything goes. It asks first; we answer y."),
]


def say(text=""):
    print(text, flush=True)


def tutorial_commands():
    """The tutorial's lines as trainyard commands: only the program's name differs."""
    with open(os.path.join(CHECKOUT, "examples", "tutorial", "commands.txt")) as file:
        lines = [line.strip() for line in file if line.strip()]
    commands = []
    for line in lines:
        words = shlex.split(line)
        commands.append(words[2:] if words[1] == "batchai" else words[1:])
    return commands


def prepare_folder(lab):
    """The folder a researcher would sit in: the job file and the script."""
    folder = os.path.join(lab.root, "tutorial")
    os.mkdir(folder)
    shutil.copy(os.path.join(CHECKOUT, "examples", "tutorial", "job.json"), folder)
    shutil.copy(os.path.join(CHECKOUT, "examples", "cifar_cnn_distributed.py"), folder)
    return folder


def run(lab, words, folder):
    """Runs one command with its output going straight to ours."""
    process = lab.cli_process(*words, cwd=folder, stdout=None, stderr=None)
    return process.wait()


def run_answering(lab, words, folder, answer):
    """Runs a command that asks: it gets a terminal, and our answer once it has asked."""
    ours, theirs = pty.openpty()
    process = lab.cli_process(*words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    answered = False
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            text = os.read(ours, 4096) if ready else b""
        except OSError:  # the other side is closed
            text = b""
        if not text:
            break
        sys.stdout.write(text.decode(errors="replace").replace("\r\n", "\n"))
        sys.stdout.flush()
        if not answered:
            os.write(ours, (answer + "\n").encode())
            answered = True
    os.close(ours)
    return process.wait()


def job_state(lab):
    shown = lab.cli("job", "show", "-g", "batchai.horovod", "-w", "batchaidev", "-e", "cifar", "-n", "cifar_distributed", "--query",
                    "executionState", "-o", "tsv")
    return shown.out.strip()


def wait_between(lab, words, folder):
    """The tutorial's reader waits at some places; so do we."""
    if words[:2] == ["cluster", "show"] and "table" in words:
        def steady():
            return lab.cli("cluster", "show", "-g", "batchai.horovod", "-w", "batchaidev", "-n", "nc6cluster", "--query",
                           "[allocationState, nodeStateCounts.idleNodeCount]", "-o", "json").json() == ["steady", NODES]

        wait_until(steady, 60, "the cluster is steady with four idle nodes", 0.1)
        run(lab, words, folder)
    if words[:2] == ["job", "create"]:
        wait_until(lambda: job_state(lab) in ("running", "succeeded", "failed"), 120, "the job starts", 0.05)
    if words[:3] == ["job", "file", "stream"]:
        wait_until(lambda: job_state(lab) in ("succeeded", "failed"), 60, "the job is finished", 0.1)


def tutorial(lab, keep):
    folder = prepare_folder(lab)
    for words, (name, why) in zip(tutorial_commands(), EXPLAINED, strict=True):
        if not " ".join(words).startswith(name):
            raise LabError(f"examples/tutorial/commands.txt has `{' '.join(words)}` where `{name}` was expected")
        if keep and name in ("cluster resize", "group delete"):
            continue
        say(f"\n# {why}\n$ trainyard {shlex.join(words)}")
        started = time.monotonic()
        rc = run_answering(lab, words, folder, "y") if name == "group delete" else run(lab, words, folder)
        if rc != 0:
            raise LabError(f"`trainyard {shlex.join(words)}` ended with {rc}")
        wait_between(lab, words, folder)
        say(f"  ({time.monotonic() - started:.1f} s)")
        if name == "job file stream":
            receipts = ["job", "show", "-g", "batchai.horovod", "-w", "batchaidev", "-e", "cifar", "-n", "cifar_distributed", "--query",
                        "cleanupReceipts", "--output", "table"]
            say(f"\n# Not in the tutorial: what cleaning the nodes after the job took.\n$ trainyard {shlex.join(receipts)}")
            run(lab, receipts, folder)
            if job_state(lab) != "succeeded":
                raise LabError("the training job did not succeed")
        if name == "storage file download":
            size = os.path.getsize(os.path.join(folder, "keras_cifar10_trained_model.h5"))
            say(f"  keras_cifar10_trained_model.h5: {size} bytes")


def write_wrapper(lab):
    """A `trainyard` that talks to the kept cluster from outside of its hosts."""
    path = os.path.join(lab.root, "trainyard")
    head = lab.network.hosts["head"]
    with open(path, "w") as file:
        file.write("#!/bin/sh\n# trainyard, run on the kept cluster's head\n"
                   f"exec nsenter -t {head.pid} -n -m --wd=\"$PWD\" env TRAINYARD_CONTROLLER={lab.controller} {lab.root}/bin/trainyard \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def stop():
    if stop_kept(KEPT):
        say("stopped and removed")
    else:
        say("no kept cluster is running")


def main():
    keep = "--keep" in sys.argv[1:]
    if "--stop" in sys.argv[1:]:
        return stop()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if keep and os.path.exists(os.path.join(LABS, PREFIX + KEPT)):
        sys.exit("a kept cluster is running already: deploy/quickstart --stop ends it")
    started = time.monotonic()
    say(f"\n== cluster: one controller, {NODES} agents, each on a pretend host (GPUs are pretend, too)")
    lab = None
    try:
        lab = Lab(nodes=NODES, timing=TIMING, name=KEPT if keep else None, keep=keep)
        run(lab, ["node", "list", "-o", "table"], lab.root)
        say(f"== cluster: {time.monotonic() - started:.1f} s")
        from_here = time.monotonic()
        say("\n== tutorial: Batch AI's Horovod tutorial, command for command")
        tutorial(lab, keep)
        say(f"\n== tutorial: {time.monotonic() - from_here:.1f} s")
        if keep:
            say(f"\nThe cluster stays. Talk to it:   {write_wrapper(lab)} node list -o table\n"
                f"Its files:                       {lab.root}\n"
                f"Stop and remove it:              {os.path.join(CHECKOUT, 'deploy', 'quickstart')} --stop")
            lab = None
    except KeyboardInterrupt:
        say("\ninterrupted")
        sys.exit(130)
    except LabError as error:
        say(f"\nfailed: {error}")
        if lab is not None and lab.network is not None:
            say(lab.logs())
        sys.exit(1)
    finally:
        if lab is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop the clean-up
            lab.down()
            say("stopped and removed everything")


if __name__ == "__main__":
    main()
