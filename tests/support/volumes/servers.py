"""What volumes are mounted from: npm's object servers, and file systems that never answer."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netlab"))
from lab import LABS  # noqa: E402

# What a mount command runs: a FUSE file system on which even the first request waits.
SILENT = """import ctypes, os, sys, time
fd = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"silent", sys.argv[1].encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
time.sleep(1000)
"""


def object_servers():
    """The node_modules with s3rver and azurite, installed once per machine; None: there is no npm or no registry."""
    folder = os.path.join(LABS, "trainyard-object-servers")
    if not os.path.exists(os.path.join(folder, "complete")):
        os.makedirs(folder, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, "s3rver@3.7.1", "azurite@3.35.0"]
        if shutil.which("npm") is None or subprocess.run(install, capture_output=True).returncode != 0:
            return None
        with open(os.path.join(folder, "complete"), "w"):
            pass
    return os.path.join(folder, "node_modules")


def write_silent(folder):
    """The path of a program that mounts a silent file system."""
    path = os.path.join(folder, "silent.py")
    with open(path, "w") as file:
        file.write(SILENT)
    return path


def abort_all_fuse():
    """In case that a test does not end: nothing may wait for a silent file system for ever."""
    for name in os.listdir("/sys/fs/fuse/connections"):
        with open(f"/sys/fs/fuse/connections/{name}/abort", "w") as file:
            file.write("1")
