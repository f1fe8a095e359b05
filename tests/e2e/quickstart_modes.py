#!/usr/bin/python3
"""The second half of deploy/quickstart (the build is there): to its end, kept and stopped, interrupted: nothing is left."""
import signal
import subprocess
import tempfile

from e2e import CHECKOUT, check, main, os, wait_until
from hosts import cgroup2_root

QUICKSTART = ["/usr/bin/python3", os.path.join(CHECKOUT, "deploy", "quickstart.py")]


def _start(folder, *flags):
    return subprocess.Popen([*QUICKSTART, *flags], env={**os.environ, "TRAINYARD_LAB_DIR": folder}, cwd="/", stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def _nothing_left(folder, labs):
    check(os.listdir(folder) == [], f"no folder left: {os.listdir(folder)}")
    left = [name for name in os.listdir(cgroup2_root()) if name.rsplit(".", 1)[0] in labs]
    check(not left, f"no cgroup left: {left}")


def keep_and_stop():
    with tempfile.TemporaryDirectory(prefix="ty-") as folder:
        run = _start(folder, "--keep")
        text = run.communicate(timeout=200)[0]
        check(run.returncode == 0 and "Test accuracy: 0.9" in text and "--stop" in text, f"a training, and how to stop: {text[-2000:]}")
        lab = os.path.join(folder, "tylab-quickstart")
        talk = subprocess.run([os.path.join(lab, "trainyard"), "node", "list", "-o", "table"], capture_output=True, text=True)
        check(talk.returncode == 0 and "nc6cluster" in talk.stdout, f"the kept cluster answers: {talk.stdout}{talk.stderr}")
        check(_start(folder, "--keep").wait(timeout=20) != 0, "a second kept one to be refused")
        check(_start(folder, "--stop").wait(timeout=30) == 0, "stopped")
        _nothing_left(folder, ["tylab-quickstart"])
        check(_start(folder, "--stop").wait(timeout=30) == 0, "stopping again does no harm")


def interrupted():
    with tempfile.TemporaryDirectory(prefix="ty-") as folder:
        run = _start(folder)
        wait_until(lambda: "Epoch 1/" in run.stdout.readline(), 100, "the training is under way")
        labs = os.listdir(folder)
        check(len(labs) == 1, f"one lab: {labs}")
        os.kill(run.pid, signal.SIGINT)
        rest = run.stdout.read()
        check(run.wait(timeout=30) == 130 and "removed everything" in rest, f"an orderly end: {rest[-500:]}")
        _nothing_left(folder, labs)


if __name__ == "__main__":
    main(globals())
