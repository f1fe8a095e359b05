"""Volumes by the kernel's NFS client (vers=4.2) from the kernel's server, which are on the same machine."""
import os
import time

from machine import SHARE, Machine, World, check, mounts, note, nothing_left, read, run, wait_until

EXPORTS = "/srv/exports"
FILES = "$AZ_BATCHAI_JOB_MOUNT_ROOT/n"
WRITE = f"i=0; while :; do i=$((i+1)); dd if=/dev/zero of={FILES}/file.$((i%8)) bs=256k count=1 conv=fsync 2>/dev/null; touch {SHARE}/wrote; sleep 0.1; done"


def _serve():
    os.umask(0)
    for folder in ("fs/data", "account"):
        os.makedirs(f"{EXPORTS}/{folder}", exist_ok=True)
    with open("/etc/exports", "w") as file:
        file.write(f"{EXPORTS} 127.0.0.1(rw,no_root_squash,insecure,no_subtree_check)\n")
    run("systemctl", "start", "nfs-server")


def _world(machine):
    world = World(machine)
    machine.cli("file-server", "create", "-g", "g", "-w", "w", "-n", "fs", "-s", "Standard_DS2", "--generate-ssh-keys", "--disk-size", 1).ok()
    machine.cli("storage", "account", "create", "-g", "g", "-n", "nfs").ok()
    machine.cli("storage", "share", "create", "-n", "s", "--account-name", "nfs").ok()
    return world


def _machine():
    return Machine(agent={"volume_check_every_ms": 1000}, file_servers=[{"name": "*", "address": "127.0.0.1", "export": EXPORTS}],
                   storage=[{"account": "nfs", "nfs": f"127.0.0.1:{EXPORTS}/account", "options": "vers=4.2"}])


def _create(world, name, command, share=False, **more):
    body = world.body(command=command, **more)
    volumes = body["properties"]["mountVolumes"]
    if share:
        volumes["azureFileShares"].append({"accountName": "nfs", "azureFileUrl": "https://nfs.file.core.windows.net/s", "relativeMountPath": "n"})
    else:
        volumes["fileServers"] = [{"fileServer": {"id": "fs"}, "relativeMountPath": "n", "sourceDirectory": "/data", "mountOptions": "rw"}]
    world.create(name, body).ok()


def written_and_read():
    """A file server's directory, and a share that the operator maps to NFS: each is mounted once, by 4.2, and gone afterwards."""
    _serve()
    with _machine() as machine:
        world = _world(machine)
        for name, share, place in (("server", False, f"{EXPORTS}/fs/data"), ("share", True, f"{EXPORTS}/account/s")):
            command = (f"echo from $(id -u) > {FILES}/{name}.txt && cat {FILES}/{name}.txt; mkdir {FILES}/folder.{name}; ln -s {name}.txt {FILES}/link.{name}; cat {FILES}/link.{name}; "
                       f"touch {SHARE}/up.{name}; until [ -e {SHARE}/go.{name} ]; do sleep 0.2; done")
            _create(world, name, command, share)
            world.wait_file(f"up.{name}")
            lines = [line for line in mounts() if line.split()[2] == "nfs4"]
            check(lines and all("vers=4.2" in line and "nosuid" in line and "nodev" in line for line in lines), f"mounted by NFS 4.2: {mounts()}")
            note(lines[0])
            world.touch(f"go.{name}")
            job = world.succeed(name)
            uid = job["runAs"].split(":")[0]
            check(world.output(name) == f"from {uid}\n" * 2, f"what it wrote: {world.output(name)}")
            about = os.stat(f"{place}/{name}.txt")
            check(read(f"{place}/{name}.txt") == f"from {uid}\n" and about.st_uid == int(uid), f"on the server, of the job's user: {about}")
            nothing_left(world)


def _ends_with_its_mount(machine, world, name, silence, again):
    _create(world, name, WRITE)
    world.wait_file("wrote")
    began = time.monotonic()
    silence()
    try:
        job = world.wait_end(name, 120)
        error = job["executionInfo"]["errors"][0]
        check(error["code"] == "NFSMountError" and "does not work any more" in error["message"], f"the mount to be named: {job['executionInfo']} {job['reason']}")
        note(f"{name}: failed after {time.monotonic() - began:.0f} s: {error['message']}")
        check(machine.node()["reachable"], "the agent to answer")
        nothing_left(world)
        note(f"{name}: clean after {time.monotonic() - began:.0f} s, the receipt: {job['cleanupReceipts'][0]['tookMs']} ms")
        # The node works while the server is away.
        world.submit(name + "-beside", command="echo beside")
        world.succeed(name + "-beside")
    finally:
        again()
    os.remove(os.path.join(world.share, "wrote"))
    _create(world, name + "-again", f"cat {FILES}/file.1 | wc -c; echo new > {FILES}/{name}")
    world.succeed(name + "-again", 120)
    check(read(f"{EXPORTS}/fs/data/{name}") == "new\n", "the server to be used again")
    nothing_left(world)


def the_server_ends_while_a_rank_writes():
    """Stopped, and silent: the job fails with its mount's error, no agent waits, the node is clean; when the server is back, so is the volume."""
    _serve()
    drop = "table inet silent {\nchain input {\ntype filter hook input priority 0\ntcp dport 2049 drop\n}\n}\n"
    with _machine() as machine:
        world = _world(machine)
        _ends_with_its_mount(machine, world, "stopped", lambda: run("systemctl", "stop", "nfs-server"), _serve)
        _ends_with_its_mount(machine, world, "silent", lambda: run("nft", "-f", "-", input=drop), lambda: run("nft", "delete", "table", "inet", "silent"))


def refused():
    """What the server does not export, and who is not there, in mount.nfs's words."""
    _serve()
    with Machine(file_servers=[{"name": "fs", "address": "127.0.0.1", "export": "/srv/none"}]) as machine:
        world = World(machine)
        machine.cli("file-server", "create", "-g", "g", "-w", "w", "-n", "fs", "-s", "Standard_DS2", "--generate-ssh-keys", "--disk-size", 1).ok()
        _create(world, "none", "true", recovery={"maxRequeues": 0})
        error = world.wait_end("none", 120)["executionInfo"]["errors"][0]
        check(error["code"] == "NFSMountError" and ("No such file" in error["message"] or "denied" in error["message"]), f"what mount.nfs says: {error}")
        note(error["message"])
        wait_until(lambda: not mounts(), 20, "nothing is mounted")
