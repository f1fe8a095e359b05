#!/usr/bin/python3
"""Volumes of other machines, with real servers on the head's host: S3 (s3rver; rclone and s3fs), Azure Blob (azurite; rclone), users' own mount commands, file servers. One mount per node and volume, counted; nothing is left."""
import itertools
import os
import signal
import shutil
import subprocess
import sys
import threading

from e2e import SKIPPED, Lab, World, check, main, wait_until
from lab import LABS, PREFIX

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "volumes"))
from servers import abort_all_fuse, object_servers, write_silent  # noqa: E402

KEY = "canary-8d2e-key"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # azurite's own, in its manual
BLOBS = "$AZ_BATCHAI_JOB_MOUNT_ROOT/b"
_numbers = itertools.count()


def _needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        sys.exit(SKIPPED)


def _lab(storage, nodes=2, every_ms=1000, **config):
    """A lab with these accounts, and every other one in the lab's own folder, as ever."""
    name = f"{os.getpid()}-volumes-{next(_numbers)}"
    rest = {"account": "*", "local": os.path.join(LABS, PREFIX + name, "storage")}
    return Lab(nodes=nodes, name=name, config={"storage": [*storage, rest], **config}, agent={"volume_check_every_ms": every_ms})


def _object_server(lab, *argv):
    log = open(os.path.join(lab.root, "object-server.log"), "ab")
    return lab.network.hosts["head"].start(["node", *argv], stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": lab.root})


def _s3(lab):
    os.makedirs(os.path.join(lab.root, "objects"))
    server = _object_server(lab, os.path.join(object_servers(), "s3rver", "bin", "s3rver.js"), "-d", os.path.join(lab.root, "objects"), "-p",
                            "9000", "-a", "0.0.0.0")
    _wait_port(lab, 9000)
    return server


def _object(lab, name):
    """What the server has of the object that ends so."""
    for folder, _, files in os.walk(os.path.join(lab.root, "objects")):
        if f"{name}._S3rver_object" in files:
            with open(os.path.join(folder, f"{name}._S3rver_object")) as file:
                return file.read()
    return ""


def _wait_port(lab, port):
    probe = f"import socket; socket.create_connection(('head', {port}), 1)"
    wait_until(lambda: lab.network.hosts["head"].run(["/usr/bin/python3", "-c", probe]).returncode == 0, 20, f"a server at port {port}")


def _account(lab, name, *shares):
    lab.cli("storage", "account", "create", "-g", "g", "-n", name).ok()
    for share in shares:
        lab.cli("storage", "share", "create", "-n", share, "--account-name", name).ok()


def _blob(account, container, key=None, path="b"):
    mount = {"accountName": account, "containerName": container, "relativeMountPath": path}
    if key:
        mount["credentials"] = {"accountKey": key}
    return mount


def _body(world, blobs=(), servers=(), commands=(), **more):
    body = world.body(**more)
    volumes = body["properties"]["mountVolumes"]
    volumes["azureBlobFileSystems"] = list(blobs)
    volumes["fileServers"] = list(servers)
    volumes["unmanagedFileSystems"] = list(commands)
    return body


def _mounts(lab, node):
    text = lab.network.hosts[node].run(["cat", "/proc/self/mountinfo"]).stdout
    return [line.split()[4] for line in text.splitlines() if "/work/" in line]


def _nothing_left(lab):
    for node in lab.nodes:
        wait_until(lambda: not _mounts(lab, node), 20, f"no mount is left on {node}: {_mounts(lab, node)}")
        cgroup = os.path.join(lab.network.hosts[node].cgroup, "trainyard", "volumes")
        def left(folder=cgroup):
            names = os.listdir(folder) if os.path.isdir(folder) else []
            return [name for name in names if os.path.isdir(os.path.join(folder, name))]

        wait_until(lambda: not left(), 20, f"no mount's cgroup is left on {node}")  # it goes after its mount


def _error(world, name):
    job = world.wait_end(name, 90)
    check(job["executionState"] == "failed", f"{name} to fail")
    return job["executionInfo"]["errors"][0]


def _write_and_read(where):
    """Each rank writes a file of its own, waits for the other's, and reads it."""
    return (f'r=$OMPI_COMM_WORLD_RANK; o=$((1-r)); echo "from $r" > {where}/$r.part && mv {where}/$r.part {where}/$r.txt; '
            f'for i in $(seq 300); do [ -s {where}/$o.txt ] && break; sleep 0.1; done; echo "$r read $(cat {where}/$o.txt)"')


def s3_by_rclone_and_s3fs():
    """Two ranks on two nodes write and read a bucket, by either client; the user's key is nowhere but in memory; the
    job's logs are on the server when it has ended."""
    _needs("node", "npm", "rclone", "s3fs")
    if object_servers() is None:
        print("skipped: no npm registry for s3rver")
        return
    s3 = {"endpoint": "http://head:9000"}
    storage = [{"account": "objects", "s3": s3, "user": "S3RVER"}, {"account": "fuse", "s3": s3, "user": "S3RVER", "options": "client=s3fs"},
               {"account": "wrong", "s3": s3, "user": "NOBODY"}, {"account": "nowhere", "s3": {"endpoint": "http://head:9"}, "user": "x"}]
    with _lab(storage, nodes=3) as lab:
        world = World(lab, target=2)
        server = _s3(lab)
        for account in ("objects", "fuse", "wrong", "nowhere"):
            _account(lab, account, "data")
        body = _body(world, [_blob("objects", "data", KEY)], nodes=2, mpi=True, command=_write_and_read(BLOBS))
        body["properties"]["stdOutErrPathPrefix"] = BLOBS
        answer = world.create("j", body).ok()
        os.remove(os.path.join(lab.root, "job-j.json"))
        world.succeed("j")
        check(KEY not in answer + lab.cli("job", "show", *world.at("j"), "-o", "json").ok(), "answers without the key")
        found = subprocess.run(["grep", "-rlaF", KEY, lab.root], capture_output=True, text=True).stdout
        check(not found, f"no file with the key: {found}")
        _nothing_left(lab)
        text = _object(lab, "stdout.txt")
        check("0 read from 1" in text and "1 read from 0" in text, f"both ranks to have read what the other wrote: {text}")
        # By s3fs, on what rclone wrote.
        world.create("k", _body(world, [_blob("fuse", "data", KEY)], command=f"cat {BLOBS}/0.txt; echo more > {BLOBS}/more")).ok()
        world.succeed("k")
        check("from 0" in world.output("k"), f"s3fs to show what rclone wrote: {world.output('k')}")
        # The operator's server says who is wrong; nobody's fault but the table's: no other node is tried.
        world.create("w", _body(world, [_blob("wrong", "data", KEY)], command="true")).ok()
        error = _error(world, "w")
        check(error["code"] == "BFSMountError" and "InvalidAccessKeyId" in error["message"], f"the server's words: {error}")
        once = {"maxRequeues": 0}
        world.create("n", _body(world, [_blob("nowhere", "data", KEY)], command="true", recovery=once)).ok()
        error = _error(world, "n")
        check(error["code"] == "BFSMountError" and "refused" in error["message"], f"an unreachable server to be named: {error}")
        _nothing_left(lab)
        server.kill()


def azure_blob_by_rclone():
    _needs("node", "npm", "rclone")
    if object_servers() is None:
        print("skipped: no npm registry for azurite")
        return
    # Of an emulator rclone knows the key by itself: what a wrong one does is not to be seen here.
    with _lab([{"account": "devstoreaccount1", "azure_blob": {"endpoint": "http://head:10000/devstoreaccount1"}}], nodes=3) as lab:
        world = World(lab, target=2)
        server = _object_server(lab, os.path.join(object_servers(), "azurite", "dist", "src", "blob", "main.js"), "--blobHost", "0.0.0.0",
                                "--skipApiVersionCheck", "--disableTelemetry", "--location", os.path.join(lab.root, "objects"))
        _wait_port(lab, 10000)
        _account(lab, "devstoreaccount1", "data")
        mount = _blob("devstoreaccount1", "data", "<AZURE_BATCHAI_STORAGE_KEY>")
        body = _body(world, [mount], nodes=2, mpi=True, command=_write_and_read(BLOBS))
        body["properties"]["stdOutErrPathPrefix"] = BLOBS
        world.create("j", body, "--storage-account-name", "devstoreaccount1", "--storage-account-key", AZURITE_KEY).ok()
        world.succeed("j")
        _nothing_left(lab)
        # Of a finished job: a node, also one that it did not run on, mounts the container for it.
        text = lab.cli("job", "file", "stream", "-g", "g", "-w", "w", "-e", "x", "-j", "j", "-f", "stdout.txt").ok()
        check("0 read from 1" in text and "1 read from 0" in text, f"both ranks to have read what the other wrote: {text}")
        _nothing_left(lab)
        server.kill()


def a_silent_server_while_a_rank_writes():
    """The server stops in the middle: the job fails with its mount's error, soon; the node is clean and takes the next job."""
    _needs("node", "npm", "rclone")
    if object_servers() is None:
        print("skipped: no npm registry for s3rver")
        return
    with _lab([{"account": "objects", "s3": {"endpoint": "http://head:9000"}, "user": "S3RVER"}], nodes=2) as lab:
        world = World(lab)
        _s3(lab)
        _account(lab, "objects", "data")
        command = f"i=0; while :; do i=$((i+1)); dd if=/dev/zero of={BLOBS}/file.$i bs=1M count=1 2>/dev/null; ls {BLOBS} > /dev/null; touch {_share('wrote')}; sleep 0.1; done"
        world.create("j", _body(world, [_blob("objects", "data", "x")], command=command)).ok()
        world.wait_file("wrote")
        servers = lab.network.hosts["head"].pids("node")
        check(servers, "the server to be found")
        for pid in servers:
            os.kill(pid, signal.SIGSTOP)
        error = _error(world, "j")
        check(error["code"] == "BFSMountError" and "no answer" in error["message"], f"the mount to be named: {error}")
        world.wait_idle(2, 60)
        _nothing_left(lab)
        world.submit("k", command="echo again")
        world.succeed("k")
        for pid in servers:
            os.kill(pid, signal.SIGKILL)


def _share(name):
    return f"$AZ_BATCHAI_JOB_MOUNT_ROOT/s/{name}"


def commands_of_users():
    """The path is appended; what the command says is said; a file system that never answers ends the job, not the agent."""
    armed = threading.Timer(120, abort_all_fuse)
    armed.daemon = True
    armed.start()
    with _lab([]) as lab:
        world = World(lab)
        silent = write_silent(lab.root)
        source = os.path.join(lab.root, "source dir")
        os.makedirs(source)
        mount = {"mountCommand": f"mount --bind '{source}'", "relativeMountPath": "u"}
        world.create("j", _body(world, commands=[mount], command="echo here > $AZ_BATCHAI_JOB_MOUNT_ROOT/u/file; grep -q '/u .*nosuid,nodev' /proc/self/mountinfo && echo safe")).ok()
        world.succeed("j")
        check(os.listdir(source) == ["file"] and world.output("j") == "safe\n", f"the user's mount, nosuid and nodev: {world.output('j')}")
        for name, command, words in (("a", "echo my words >&2; exit 3 #", "exited with code 3: my words"), ("b", "true", "nothing is mounted"),
                                     ("c", f"python3 {silent}", "no answer within")):
            world.create(name, _body(world, commands=[{"mountCommand": command, "relativeMountPath": "u"}], command="true",
                                     recovery={"maxRequeues": 0})).ok()
            error = _error(world, name)
            check(error["code"] == "UnmanagedFileSystemMountError" and words in error["message"], f"{name}: {words}: {error}")
        _nothing_left(lab)
    armed.cancel()
    with _lab([], nodes=1, unmanaged_file_systems=False) as lab:
        world = World(lab)
        world.create("j", _body(world, commands=[mount], command="true")).failed("properties.mountVolumes.unmanagedFileSystems", "run as root")


def file_servers():
    """The kernels of these machines have no NFS client: what is said of that is the test. A mounted one is not deleted."""
    with _lab([], nodes=1, file_servers=[{"name": "*", "address": "head", "export": "/exports"}]) as lab:
        world = World(lab, target=1)
        lab.cli("file-server", "create", "-g", "g", "-w", "w", "-n", "fs", "-s", "Standard_DS2", "--generate-ssh-keys", "--disk-size", 1).ok()
        mount = {"fileServer": {"id": "fs"}, "relativeMountPath": "n", "sourceDirectory": "/data", "mountOptions": "rw"}
        world.create("j", _body(world, servers=[mount], command="true")).ok()
        error = _error(world, "j")
        check(error["code"] == "NFSMountError" and "cannot mount head:/exports/fs/data at n" in error["message"] and
              "its kernel has no NFS client" in error["message"], f"what is missing: {error}")
        world.create("k", _body(world, command="true"), "--nfs", "fs", "--nfs-mount-path", "m").ok()
        check(_error(world, "k")["code"] == "NFSMountError", "--nfs to mount it, too")
        shown = lab.cli("job", "show", *world.at("k"), "-o", "json").json()["mountVolumes"]["fileServers"]
        check(shown[0]["fileServer"]["id"].endswith("/workspaces/w/fileservers/fs"), f"its id: {shown}")
        world.create("l", _body(world, servers=[{**mount, "fileServer": {"id": "other"}}], command="true")).failed("fileServers[0]", "file server g/w/other does not exist")
        world.resize(0).ok()
        world.create("m", _body(world, servers=[mount], command="true")).ok()
        lab.cli("file-server", "delete", "-g", "g", "-w", "w", "-n", "fs", "-y").failed("is mounted by job g/w/x/m", "nothing was removed")
        world.terminate("m").ok()
        world.wait_end("m")
        lab.cli("file-server", "delete", "-g", "g", "-w", "w", "-n", "fs", "-y").ok()


if __name__ == "__main__":
    main(globals())
