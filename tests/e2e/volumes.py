#!/usr/bin/python3
"""Volumes of other machines, with real servers on the head's host: S3 (s3rver; rclone and s3fs), Azure Blob (azurite; rclone), SMB (Samba; smbnetfs), users' own mount commands (sshfs), file servers. One mount per node and volume, counted; nothing is left."""
import contextlib
import itertools
import os
import signal
import shutil
import subprocess
import sys
import threading

from e2e import SKIPPED, Lab, World, check, main, wait_until
from lab import LABS, PREFIX, TEST_TIMING

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "volumes"))
from servers import FIND_KEY, abort_all_fuse, object_servers, start_samba, start_sshd, write_silent  # noqa: E402

KEY = "canary-8d2e-key"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # azurite's own, in its manual
BLOBS = "$AZ_BATCHAI_JOB_MOUNT_ROOT/b"
FILES = "$AZ_BATCHAI_JOB_MOUNT_ROOT/m"
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


@contextlib.contextmanager
def _armed(seconds=240):
    """What a broken mount would hold for ever is let go after this long, with or without us."""
    timer = threading.Timer(seconds, abort_all_fuse, [os.listdir("/sys/fs/fuse/connections")])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _smb(lab, passwords):
    start_samba(lab.network.hosts["head"], os.path.join(lab.root, "smb"), passwords)
    _wait_port(lab, 445)
    return os.path.join(lab.root, "smb", "share")


def _files(account, share="data", key=None, **more):
    mount = {"accountName": account, "azureFileUrl": f"https://{account}.file.core.windows.net/{share}", "relativeMountPath": "m", **more}
    if key:
        mount["credentials"] = {"accountKey": key}
    return mount


def _with_files(world, mount, **more):
    body = world.body(**more)
    body["properties"]["mountVolumes"]["azureFileShares"].append(mount)
    return body


def _where_the_key_is(lab, node, key):
    done = lab.network.hosts[node].run(["/usr/bin/python3", "-c", FIND_KEY, "/run", os.path.join(lab.root, "work"), os.path.join(lab.root, "hosts")],
                                       stdin=None, input=key)
    check(done.returncode == 0, f"the search for the key: {done.stderr}")
    return done.stdout.splitlines()


def _write_for_ever(where):
    return f"i=0; while :; do i=$((i+1)); dd if=/dev/zero of={where}/file.$i bs=1M count=1; ls {where} > /dev/null; touch {_share('wrote')}; sleep 0.1; done 2> /dev/null"


def smb_by_smbnetfs():
    """Two ranks on two nodes write and read a share of a real Samba server; the password is in two files of root's and nowhere else;
    modes hold for the job's user; the server says what is wrong."""
    _needs("smbd", "smbpasswd", "smbnetfs", "smbclient")
    operators = os.path.join(LABS, f"{PREFIX}{os.getpid()}-operators-key")
    with open(os.open(operators, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"of the operator's {KEY}\n")
    storage = [{"account": "users", "smb": "//head/data", "user": "root"}, {"account": "wrong", "smb": "//head/data", "user": "root"},
               {"account": "operators", "smb": "//head/data", "user": "daemon", "credentials_file": operators},
               {"account": "noshare", "smb": "//head/other", "user": "root"}, {"account": "nowhere", "smb": "//node1/data", "user": "root"}]
    try:
        with _armed(), _lab(storage, nodes=3) as lab:
            world = World(lab, target=2)
            share = _smb(lab, {"root": KEY, "daemon": f"of the operator's {KEY}"})
            for account in ("users", "wrong", "operators", "noshare", "nowhere"):
                _account(lab, account, "data")
            _used_by_two_ranks(lab, world, share)
            _modes_of_smb(lab, world)
            # What is wrong is said in the server's words, and nobody tries again what cannot get better.
            for account, key, words in (("wrong", "no such key", "LOGON_FAILURE"), ("noshare", KEY, "BAD_NETWORK_NAME"), ("nowhere", KEY, "CONNECTION_REFUSED")):
                world.create(account, _with_files(world, _files(account, key=key), command="true", recovery={"maxRequeues": 0})).ok()
                error = _error(world, account)
                check(error["code"] == "AZFMountError" and words in error["message"], f"the server's words: {error}")
            _nothing_left(lab)
    finally:
        os.unlink(operators)


def _used_by_two_ranks(lab, world, share):
    command = (f"{_write_and_read(FILES)}; for word in a b; do echo $word >> {FILES}/log.$r; done; truncate -s 2 {FILES}/log.$r; "
               f"mkdir {FILES}/folder.$r; touch {_share('ready')}.$r; while [ ! -e {_share('go')} ]; do sleep 0.1; done")
    body = _with_files(world, _files("users", key=KEY), nodes=2, mpi=True, command=command)
    body["properties"]["stdOutErrPathPrefix"] = FILES
    answer = world.create("j", body).ok()
    os.remove(os.path.join(lab.root, "job-j.json"))
    world.wait_file("ready.0", 60)
    world.wait_file("ready.1", 60)
    found = [line for node in lab.nodes for line in _where_the_key_is(lab, node, KEY)]
    names = sorted(os.path.basename(line.split()[1]) for line in found if line.startswith("file"))
    check(names == 2 * ["identity"] + 2 * ["smbclient"] + 2 * ["smbnetfs.auth"], f"the helper's files only: {found}")
    check(all(line.startswith("file /run/") and line.endswith(" 0o600 0 0o700") for line in found), f"root's, in memory, no argument, no environment: {found}")
    world.touch("go")
    world.succeed("j")
    check(KEY not in answer + lab.cli("job", "show", *world.at("j"), "-o", "json").ok(), "answers without the key")
    _nothing_left(lab)
    check(not any(_where_the_key_is(lab, node, KEY) for node in lab.nodes), "no key to be left")
    logs = {name: open(os.path.join(share, "data", name)).read() for name in ("log.0", "log.1")}
    check(logs == {"log.0": "a\n", "log.1": "a\n"}, f"what was appended and cut to be on the server: {logs}")
    [text] = [open(os.path.join(folder, "stdout.txt")).read() for folder, _, files in os.walk(share) if "stdout.txt" in files]
    check("0 read from 1" in text and "1 read from 0" in text, f"both ranks to have read what the other wrote: {text}")


def _modes_of_smb(lab, world):
    """The operator's key; a mount that its users may read, and only root may change."""
    read = _files("operators", fileMode="0755", directoryMode="0755")
    command = f"cat {FILES}/0.txt; stat -c %a {FILES}/0.txt {FILES}; echo x > {FILES}/x || mkdir {FILES}/y || echo refused"
    world.create("k", _with_files(world, read, command=command)).ok()
    world.succeed("k")
    check(world.output("k") == "from 0\n755\n755\nrefused\n", f"a mount that others may only read: {world.output('k')}")
    world.create("l", _with_files(world, {**read, "fileMode": "0644"}, command="true")).ok()
    error = _error(world, "l")
    check(error["code"] == "AZFMountError" and "fileMode 0644 and directoryMode 0755 must be the same" in error["message"], f"what smbnetfs cannot: {error}")


def an_smb_server_ends_while_a_rank_writes():
    """Killed, or silent: the job fails with its mount's error, soon; no agent waits for it, the node is clean and takes the next job."""
    _needs("smbd", "smbpasswd", "smbnetfs", "smbclient")
    with _armed(), _lab([{"account": "users", "smb": "//head/data", "user": "root"}], nodes=2) as lab:
        world = World(lab)
        _smb(lab, {"root": KEY})
        _account(lab, "users", "data")
        for name, sent in (("silent", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            world.create(name, _with_files(world, _files("users", key=KEY), command=_write_for_ever(FILES))).ok()
            world.wait_file("wrote", 60)
            servers = lab.network.hosts["head"].pids("smbd")
            check(servers, "the server to be found")
            for pid in servers:
                os.kill(pid, sent)
            error = _error(world, name)
            said = "cannot use //head/data/data at m on node" in error["message"] and "does not work any more" in error["message"]
            check(error["code"] == "AZFMountError" and said, f"the mount to be named: {error}")
            world.wait_idle(2, 60)
            _nothing_left(lab)
            for pid in servers if sent == signal.SIGSTOP else ():
                os.kill(pid, signal.SIGCONT)
            os.remove(os.path.join(world.share, "wrote"))
        world.submit("k", command="echo again")
        world.succeed("k")


def a_cluster_volume_whose_server_dies():
    """Its jobs fail with the mount's error instead of waiting for ever, also after a restart of the agent; the node is unusable, says why, and
    is set up again when the server is back."""
    _needs("smbd", "smbpasswd", "smbnetfs", "smbclient")
    timing = {**TEST_TIMING, "setup_retry_ms": 3000, "setup_retry_longest_ms": 3000}
    with _armed(), _lab([{"account": "users", "smb": "//head/data", "user": "root"}], nodes=1, timing=timing) as lab:
        world = World(lab, target=0)
        _smb(lab, {"root": KEY})
        _account(lab, "users", "data")
        lab.cli("cluster", "create", "-g", "g", "-w", "w", "-n", "v", "--vm-size", lab.flavour, "-t", 1, "--afs-name", "data", "--afs-mount-path", "afs",
                "--storage-account-name", "users", "--storage-account-key", KEY).ok()
        place = "$AZ_BATCHAI_MOUNT_ROOT/afs"
        world.create("j", world.body(command=f"echo here > {place}/file && cat {place}/file"), cluster="v").ok()
        world.succeed("j")
        check(world.output("j") == "here\n", f"the cluster's mount to work: {world.output('j')}")

        def servers(sent):
            for pid in lab.network.hosts["head"].pids("smbd"):
                os.kill(pid, sent)

        def node():
            return lab.cli("node", "show", "node1", "-o", "json").json()

        for name, restart in (("k", False), ("l", True)):
            world.create(name, world.body(command=_write_for_ever(place)), cluster="v").ok()
            world.wait_file("wrote", 60)
            if restart:
                lab.kill_agent("node1")
                lab.start_agent("node1")
            servers(signal.SIGSTOP)
            error = _error(world, name)
            check(error["code"] == "AZFMountError" and "cannot use //head/data/data at afs on node node1" in error["message"], f"the mount to be named: {error}")
            wait_until(lambda: node()["state"] == "unusable", 30, "the node is unusable")
            shown = node()
            check("AZFMountError" in shown["note"] and "//head/data/data at afs" in shown["note"], f"the node to say why: {shown}")
            world.create(f"{name}-waits", world.body(command="echo again"), cluster="v").ok()
            servers(signal.SIGCONT)
            world.succeed(f"{name}-waits", 90)
            os.remove(os.path.join(world.share, "wrote"))
        # Nobody uses it: the node is unusable all the same.
        servers(signal.SIGKILL)
        wait_until(lambda: node()["state"] == "unusable", 40, "the node is unusable")
        lab.cli("cluster", "delete", "-g", "g", "-w", "w", "-n", "v", "-y").ok()
        _nothing_left(lab)


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


def sshfs_as_a_command_of_users():
    """A user's own sshfs, with a key of its own, from a real sshd: two ranks share it; a killed server ends the job with its mount's error."""
    _needs("sshfs", "ssh-keygen")
    if not os.path.exists("/usr/sbin/sshd"):
        print("skipped: no sshd")
        sys.exit(SKIPPED)
    with _armed(), _lab([], nodes=2) as lab:
        world = World(lab)
        server, options = start_sshd(lab.network.hosts["head"], os.path.join(lab.root, "ssh"))
        _wait_port(lab, 2222)
        served = os.path.join(lab.root, "ssh", "data")
        os.makedirs(served)
        place = "$AZ_BATCHAI_JOB_MOUNT_ROOT/u"
        mount = {"mountCommand": f"sshfs root@head:{served} {options},ServerAliveInterval=2,ServerAliveCountMax=2", "relativeMountPath": "u"}
        body = _body(world, commands=[mount], nodes=2, mpi=True, command=f"{_write_and_read(place)}; grep -c '/u .*nosuid,nodev' /proc/self/mountinfo")
        body["properties"]["stdOutErrPathPrefix"] = place
        world.create("j", body).ok()
        world.succeed("j")
        [text] = [open(os.path.join(folder, "stdout.txt")).read() for folder, _, files in os.walk(served) if "stdout.txt" in files]
        check("0 read from 1" in text and "1 read from 0" in text, f"both ranks to have read what the other wrote: {text}")
        check(sorted(name for name in os.listdir(served) if name.endswith(".txt")) == ["0.txt", "1.txt"], f"both files on the server: {os.listdir(served)}")
        _nothing_left(lab)
        for name, sent in (("silent", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            world.create(name, _body(world, commands=[mount], command=_write_for_ever(place))).ok()
            world.wait_file("wrote", 60)
            for pid in lab.network.hosts["head"].pids("sshd"):
                os.kill(pid, sent)
            error = _error(world, name)
            said = "the unmanaged file system at u on node" in error["message"] and "does not work any more" in error["message"]
            check(error["code"] == "UnmanagedFileSystemMountError" and said, f"the mount to be named: {error}")
            world.wait_idle(2, 60)
            _nothing_left(lab)
            for pid in lab.network.hosts["head"].pids("sshd"):
                os.kill(pid, signal.SIGCONT)
            os.remove(os.path.join(world.share, "wrote"))
        server.wait()
        # Nobody answers at that port any more.
        world.create("gone", _body(world, commands=[mount], command="true", recovery={"maxRequeues": 0})).ok()
        error = _error(world, "gone")
        check(error["code"] == "UnmanagedFileSystemMountError" and "the mount command exited with code 1" in error["message"], f"sshfs's own words: {error}")
        _nothing_left(lab)


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
