"""Runs in the virtual machine: installs the packages, tells the stories, says how long each took."""
import glob
import importlib
import inspect
import os
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from machine import read, run  # noqa: E402

# In this order: what the others need comes first.
FILES = ["units", "limits", "devices", "nfs", "smb", "engines"]


def _stories():
    for name in FILES:
        module = importlib.import_module("stories." + name)
        for key, story in vars(module).items():
            if inspect.isfunction(story) and story.__module__ == module.__name__ and not key.startswith("_"):
                yield name, key, story


def _tell(story):
    began = time.monotonic()
    try:
        story()
    except BaseException:  # also what ends a story by sys.exit: the next one is told
        traceback.print_exc()
        logs = "journalctl -u 'trainyard-*' -n 40 --no-pager -o short-monotonic; dmesg --level=err,warn | tail -5"
        print(subprocess.run(logs, shell=True, capture_output=True, text=True, check=False).stdout)
        return False, time.monotonic() - began
    return True, time.monotonic() - began


def main():
    sys.stderr = sys.stdout
    chosen = read(os.path.join(HERE, "chosen")).split()
    stories = [one for one in _stories() if not chosen or one[0] in chosen or one[1] in chosen]
    if not stories:
        sys.exit(f"no story is named {' or '.join(chosen)}")
    up, began = float(read("/proc/uptime").split()[0]), time.monotonic()
    run("dpkg", "-i", *glob.glob("/mnt/debs/*.deb"))
    print(f"{run('uname', '-r').strip()}, systemd {run('systemctl', '--version').split()[1]}, cgroup v2 with {read('/sys/fs/cgroup/cgroup.controllers').strip()}; "
          f"up after {up:.0f} s, packages installed in {time.monotonic() - began:.0f} s", flush=True)
    failed = []
    for name, key, story in stories:
        good, seconds = _tell(story)
        print(f"{'ok     ' if good else 'FAILED '} {name}: {key}  {seconds:.0f} s", flush=True)
        if not good:
            failed.append(key)
    print(f"all stories told: {len(stories)}" if not failed else f"{len(failed)} of {len(stories)} stories FAILED: {' '.join(failed)}", flush=True)


if __name__ == "__main__":
    main()
