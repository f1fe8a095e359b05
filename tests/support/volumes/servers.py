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

# Standard input: a key. Says where on this host, but for /proc, is a file with it, and which process has it in its arguments or environment.
FIND_KEY = """import os, stat, sys
key = sys.stdin.read().encode()
def has(path):
    try:
        with open(path, "rb") as file:
            return key in file.read()
    except OSError:
        return False
for place in sys.argv[1:]:
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode) and has(path):
                above = os.stat(folder)
                print("file", path, oct(os.stat(path).st_mode & 0o777), os.stat(path).st_uid, oct(above.st_mode & 0o777))
for pid in filter(str.isdigit, os.listdir("/proc")):
    for what in ("cmdline", "environ"):
        if has(f"/proc/{pid}/{what}"):
            print("process", pid, what)
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


def start_samba(host, folder, passwords):
    """A Samba server on `host` with the share "data" (in folder/share); its users have these passwords. Port 445 answers when it is up."""
    os.makedirs(os.path.join(folder, "share"))
    os.chmod(os.path.join(folder, "share"), 0o777)
    config = ["[global]", "server role = standalone server", "disable netbios = yes", "smb ports = 445", "server min protocol = SMB2",
              f"passdb backend = tdbsam:{folder}/passdb.tdb", "load printers = no", "log level = 1"]
    for name in ("private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir"):
        os.makedirs(os.path.join(folder, name))
        config.append(f"{name} = {folder}/{name}")
    config += ["[data]", f"path = {folder}/share", "read only = no", "force user = root", "create mask = 0777", "directory mask = 0777"]
    path = os.path.join(folder, "smb.conf")
    with open(path, "w") as file:
        file.write("\n".join(config) + "\n")
    for user, password in passwords.items():
        subprocess.run(["smbpasswd", "-c", path, "-s", "-a", user], input=f"{password}\n{password}\n", text=True, check=True, capture_output=True)
    log = open(os.path.join(folder, "log"), "ab")
    return host.start(["smbd", "--foreground", "--no-process-group", "--debug-stdout", f"--configfile={path}"], stdout=log, stderr=log)


def start_sshd(host, folder):
    """An ssh server on `host` with keys of its own, port 2222; returns it and the options with which sshfs finds it."""
    os.makedirs(folder)
    for key in ("host-key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, key)], check=True)
    shutil.copy(os.path.join(folder, "key.pub"), os.path.join(folder, "authorized"))
    path = os.path.join(folder, "sshd.conf")
    with open(path, "w") as file:
        file.write(f"Port 2222\nHostKey {folder}/host-key\nPidFile {folder}/pid\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\n"
                   "UsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n")
    with open(os.path.join(folder, "known"), "w") as file, open(os.path.join(folder, "host-key.pub")) as key:
        file.write(f"[{host.name}]:2222 {key.read()}")
    # It insists on a directory in /run, which on the head is the machine's.
    own_run = f"mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -f {path} -E {folder}/log"
    server = host.start(["unshare", "--mount", "--propagation", "private", "sh", "-c", own_run])
    return server, (f"-p 2222 -o IdentityFile={folder}/key,UserKnownHostsFile={folder}/known,StrictHostKeyChecking=yes,"
                    "ConnectTimeout=5,allow_other")


def write_silent(folder):
    """The path of a program that mounts a silent file system."""
    path = os.path.join(folder, "silent.py")
    with open(path, "w") as file:
        file.write(SILENT)
    return path


def abort_all_fuse(but=()):
    """In case that a test does not end: nothing may wait for a silent file system for ever. `but`: whose was there before."""
    for name in set(os.listdir("/sys/fs/fuse/connections")) - set(but):
        with open(f"/sys/fs/fuse/connections/{name}/abort", "w") as file:
            file.write("1")
