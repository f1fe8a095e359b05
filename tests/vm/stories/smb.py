"""Shares that the operator maps to SMB, by the kernel's cifs from a real Samba on the same machine."""
import os
import subprocess
import sys
import time

from machine import SHARE, Machine, World, check, mounts, note, nothing_left, part, read, run, wait_until
from servers import FIND_KEY

KEY = "canary-8d2e-key"
FOLDER = "/srv/smb"
FILES = "$AZ_BATCHAI_JOB_MOUNT_ROOT/m"


def _serve():
    os.umask(0)
    os.makedirs(FOLDER, exist_ok=True)
    with open("/etc/samba/smb.conf", "w") as file:
        file.write(f"[global]\nserver role = standalone server\ndisable netbios = yes\nsmb ports = 445\n[data]\npath = {FOLDER}\nread only = no\nforce user = root\n")
    run("smbpasswd", "-s", "-a", "root", input=f"{KEY}\n{KEY}\n")
    run("systemctl", "restart", "smbd")
    wait_until(lambda: subprocess.run(["smbclient", "-L", "//127.0.0.1", "-U", f"root%{KEY}"], capture_output=True, check=False).returncode == 0, 30, "Samba answers")


def _machine(gpus=1):
    operators = "/etc/trainyard/smb.key"
    os.makedirs("/etc/trainyard", exist_ok=True)
    with open(os.open(operators, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(KEY + "\n")
    place = {"smb": "//127.0.0.1/data", "user": "root"}
    return Machine(agent={"volume_check_every_ms": 1000}, gpus=gpus, storage=[{"account": "users", **place}, {"account": "operators", **place, "credentials_file": operators}])


def _world(machine):
    world = World(machine)
    for account in ("users", "operators"):
        machine.cli("storage", "account", "create", "-g", "g", "-n", account).ok()
        machine.cli("storage", "share", "create", "-n", "data", "--account-name", account).ok()
    return world


def _create(world, name, command, account="users", key=KEY, **more):
    modes = {word: more.pop(word) for word in ("fileMode", "directoryMode") if word in more}
    mount = {"accountName": account, "azureFileUrl": f"https://{account}.file.core.windows.net/data", "relativeMountPath": "m", **modes}
    if key:
        mount["credentials"] = {"accountKey": key}
    body = world.body(command=command, **more)
    body["properties"]["mountVolumes"]["azureFileShares"].append(mount)
    world.create(name, body).ok()
    os.remove(os.path.join(world.lab.root, f"job-{name}.json"))


def _where_the_key_is():
    return run(sys.executable, "-c", FIND_KEY, "/run", "/var/lib/trainyard", "/var/tmp", input=KEY).splitlines()


def _cifs():
    return [line for line in mounts() if line.split()[2] == "cifs"]


def written_and_read():
    """By cifs, not smbnetfs; modes as asked for; the password is in root's files in memory only, not in arguments or in the list of mounts."""
    _serve()
    with _machine() as machine:
        world = _world(machine)
        command = (f"echo from the job > {FILES}/a.txt && cat {FILES}/a.txt; mkdir {FILES}/folder; echo more >> {FILES}/a.txt; stat -c '%a %u' {FILES}/a.txt {FILES}/folder; "
                   f"touch {SHARE}/up; until [ -e {SHARE}/go ]; do sleep 0.2; done")
        _create(world, "j", command, fileMode="0666", directoryMode="0777")
        world.wait_file("up")
        check(_cifs() and all("file_mode=0666,dir_mode=0777" in line and "nosuid" in line for line in _cifs()), f"by the kernel's cifs: {mounts()}")
        note(_cifs()[0])
        found = _where_the_key_is()
        names = sorted(os.path.basename(line.split()[1]) for line in found if line.startswith("file"))
        check(names == ["cifs", "identity", "smbclient"] and len(found) == 3, f"the helper's files only, no process: {found}")
        check(all(line.startswith("file /run/trainyard/") and line.endswith(" 0o600 0 0o700") for line in found), f"root's, in memory: {found}")
        check(KEY not in read("/proc/self/mountinfo"), "no key in the list of mounts")
        world.touch("go")
        world.succeed("j")
        check(world.output("j") == "from the job\n666 0\n777 0\n", f"what it wrote, and the modes: {world.output('j')}")
        check(read(f"{FOLDER}/data/a.txt") == "from the job\nmore\n", "on the server, too")
        nothing_left(world)
        check(not _where_the_key_is(), f"no key left: {_where_the_key_is()}")
        # The operator's own key; a mount that its users may only read.
        _create(world, "k", f"cat {FILES}/a.txt; stat -c %a {FILES}/a.txt {FILES}; echo x > {FILES}/x || echo refused", "operators", None, fileMode="0644", directoryMode="0755")
        world.succeed("k")
        check(world.output("k") == "from the job\nmore\n644\n755\nrefused\n", f"others may only read: {world.output('k')}")
        nothing_left(world)


def refused():
    """A wrong password, and a share that is not there: the server's words."""
    _serve()
    with _machine() as machine:
        world = _world(machine)
        _create(world, "wrong", "true", key="no such key", recovery={"maxRequeues": 0})
        error = world.wait_end("wrong", 120)["executionInfo"]["errors"][0]
        check(error["code"] == "AZFMountError" and "LOGON_FAILURE" in error["message"], f"the server's words: {error}")
        note(error["message"])
        # Without smbclient it is the kernel who says so.
        os.rename("/usr/bin/smbclient", "/usr/bin/smbclient.away")
        try:
            _create(world, "kernel", "true", key="no such key", recovery={"maxRequeues": 0})
            error = world.wait_end("kernel", 120)["executionInfo"]["errors"][0]
        finally:
            os.rename("/usr/bin/smbclient.away", "/usr/bin/smbclient")
        check(error["code"] == "AZFMountError" and "ermission denied" in error["message"], f"mount.cifs's words: {error}")
        note(error["message"])
        nothing_left(world)


WRITE = f"i=0; while :; do i=$((i+1)); dd if=/dev/zero of={FILES}/file.$((i%8)) bs=256k count=1 conv=fsync; touch {SHARE}/wrote; sleep 0.1; done 2>/dev/null"


def _named(job):
    error = job["executionInfo"]["errors"][0]
    check(error["code"] == "AZFMountError" and "does not work any more" in error["message"], f"the mount to be named: {error}")
    return error["message"]


def a_silent_server_while_a_rank_writes():
    """The job fails with its mount's error, or, where the kernel's cifs waits for a page in it and nobody can end that, is told as an alarm
    and keeps its GPU until the server answers again. The rest of the node works on either way, and is clean then."""
    _serve()
    with _machine(gpus=2) as machine:
        world = _world(machine)
        _create(world, "silent", WRITE, **part(1))
        world.wait_file("wrote")
        run("systemctl", "kill", "-s", "STOP", "smbd")
        try:
            def told():
                job = world.job("silent")
                return job["executionState"] == "failed" or "does not end: state D" in (job["reason"] or "")

            wait_until(told, 20, "the job has failed, or what cannot be killed is told")
            note(world.job("silent")["reason"] or "it has failed")
            check(machine.node()["reachable"], "the agent to answer")
            world.submit("beside", command="echo beside", **part(1))
            world.succeed("beside")
        finally:
            run("systemctl", "kill", "-s", "CONT", "smbd")
        began = time.monotonic()
        _named(world.wait_end("silent", 60))
        nothing_left(world)
        note(f"clean {time.monotonic() - began:.0f} s after the server answered again")


def the_server_is_killed_while_a_rank_writes():
    """The job fails with its mount's error, the node is clean and takes the next job."""
    _serve()
    with _machine() as machine:
        world = _world(machine)
        _create(world, "gone", WRITE)
        world.wait_file("wrote")
        began = time.monotonic()
        run("systemctl", "kill", "-s", "KILL", "smbd")
        note(_named(world.wait_end("gone", 30)))
        check(machine.node()["reachable"], "the agent to answer")
        nothing_left(world)
        note(f"clean after {time.monotonic() - began:.0f} s")
        _serve()
        _create(world, "again", f"echo again > {FILES}/again")
        world.succeed("again", 60)
        nothing_left(world)
