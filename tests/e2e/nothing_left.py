#!/usr/bin/python3
"""However a job ends, nothing of it is left on any node before it is reported finished: no process, mount or directory."""
import shutil
import signal

from e2e import SHARE, Lab, World, build_directory, check, main, os, program, wait_for_go, wait_until

# Forks twice, leaves the session, ignores SIGTERM.
DAEMON = "(setsid bash -c 'trap \"\" TERM HUP INT; (while :; do sleep 1000; done) & while :; do sleep 1000; done' >/dev/null 2>&1 &) ; "


def _mounts(lab, node):
    work = os.path.join(lab.root, "work")
    with open(f"/proc/{lab.network.hosts[node].pid}/mountinfo") as mounts:
        return [line.split()[4] for line in mounts if line.split()[4].startswith(work + "/")]


def _job_folders(lab, node):
    """Folders of jobs in the node's work directory."""
    found = []
    for folder, folders, files in os.walk(os.path.join(lab.network.hosts[node].folder, "work")):
        found += [os.path.join(folder, f) for f in folders + files]
    return [f for f in found if "/j-" in f or "/w/x/" in f or "ompi" in f]


def _cgroups(lab, node):
    """Cgroups of holdings that are still there with processes in them."""
    root = os.path.join(lab.network.hosts[node].cgroup, "trainyard")
    found = []
    for folder, _, _ in os.walk(root):
        with open(os.path.join(folder, "cgroup.procs")) as file:
            found += [(folder, program(int(pid))) for pid in file.read().split()]
    return [f for f in found if f[1] not in ("trainyard-agent",)]


def _clean(world, name):
    """To be called as soon as the job is reported finished."""
    lab = world.lab
    for node in lab.nodes:
        check(not world.job_pids(node), f"no process of the job on {node}: {_cgroups(lab, node)}")
        check(not _mounts(lab, node), f"no mount of the job on {node}: {_mounts(lab, node)}")
        check(not _job_folders(lab, node), f"no directory of the job on {node}: {_job_folders(lab, node)[:5]}")
    job = world.job(name)
    receipts = {r["node"]: r for r in job["cleanupReceipts"]}
    check(sorted(receipts) == sorted(lab.nodes), f"a clean-up receipt of each node: {sorted(receipts)}")
    check(all(r["mountsRemoved"] >= 1 and r["directoriesRemoved"] >= 1 for r in receipts.values()), f"what was removed: {receipts}")
    return receipts


def _with(command, end, processes_left=0):
    """Runs a 3-node job of daemon + command, ends it, checks that all is clean."""
    with Lab(nodes=3) as lab:
        world = World(lab)
        world.submit("j", nodes=3, mpi=True, command=DAEMON + wait_for_go() + command, recovery={"grace": "PT1S"})
        for rank in range(3):
            world.wait_file(f"started.{rank}")
        world.wait_for("j", "running")
        for node in lab.nodes:
            check(len(world.job_pids(node)) >= 3, f"the job and its daemon on {node}")
            check(_mounts(lab, node), f"the job's mount on {node}")
        end(world)
        job = world.wait_end("j", 40)
        receipts = _clean(world, "j")
        check(all(r["processesKilled"] >= processes_left for r in receipts.values()), f"the daemon in the receipt: {receipts}")
        world.submit("next", nodes=3, mpi=True, command="true")
        world.succeed("next")
        return job


def success():
    job = _with("exit 0", lambda world: world.touch("go"), processes_left=1)
    check(job["executionState"] == "succeeded", f"succeeded: {job['executionInfo']}")


def failure():
    job = _with("exit 5", lambda world: world.touch("go"), processes_left=1)
    check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == 5, f"failed with 5: {job['executionInfo']}")


def terminate():
    job = _with("exit 0", lambda world: world.terminate("j").ok(), processes_left=1)
    check(job["executionState"] == "failed", "terminated is failed")


def kill_mpirun():
    def kill(world):
        for node in world.lab.nodes:
            for pid in world.lab.network.hosts[node].pids():
                if program(pid) in ("orterun", "mpirun", "mpirun.openmpi"):
                    os.kill(pid, signal.SIGKILL)

    job = _with("exit 0", kill)
    check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == 137, f"failed with 137: {job['executionInfo']}")


def failed_preparation():
    with Lab(nodes=3) as lab:
        world = World(lab)
        world.submit("j", nodes=3, mpi=True, command="true", preparation=DAEMON + "[ $(hostname) != node2 ] || { echo no luck >&2; exit 4; }; sleep 100")
        job = world.wait_end("j", 40)
        check(job["executionState"] == "failed" and "node2" in str(job["executionInfo"]["errors"]), f"failed, naming node2: {job['executionInfo']}")
        _clean(world, "j")
        check("no luck" in world.output("j", "stderr-job_prep-node2.txt"), "the preparation's output")


def time_limit():
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("j", command=DAEMON + "sleep 1000", constraints={"maxWallClockTime": "PT2S"}, recovery={"grace": "PT1S"})
        job = world.wait_end("j", 40)
        check(job["executionState"] == "failed", "failed by the time limit")
        _clean(world, "j")


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _listening(lab, node):
    """(program, whether others reach it, port) of everything that listens on a node."""
    host = lab.network.hosts[node]
    found = {}
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{host.pid}/net/{table}") as file:
            for words in (line.split() for line in file.readlines()[1:]):
                address, port = words[1].split(":")
                if words[3] == "0A":
                    found[words[9]] = address != "0100007F", int(port, 16)
    owners = {}
    for pid in host.pids():
        try:  # a process, or one of its descriptors, may end while we look
            for fd in os.listdir(f"/proc/{pid}/fd"):
                owners.setdefault(_link(f"/proc/{pid}/fd/{fd}"), set()).add(program(pid))
        except OSError:
            continue
    return [(owner, *found[inode]) for inode in found for owner in owners.get(f"socket:[{inode}]", {"?"})]


def listens():
    """Agents dial the controller: with no job, nothing listens on a node at all; with one, nothing of ours, and what others
    reach of Open MPI's is at the attempt's own ports."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        for node in lab.nodes:
            check(_listening(lab, node) == [], "nothing listens on an idle node")
        os.makedirs(world.share, exist_ok=True)
        shutil.copy(os.path.join(build_directory(), "bin", "mpi_trainer"), world.share)
        os.mkfifo(os.path.join(world.share, "data.csv"))  # ranks wait for what they are to read
        world.submit("j", nodes=2, mpi=True, processes=4, command=f"{SHARE}/mpi_trainer --data {SHARE}/data.csv")

        def all_listen():
            return all(len([1 for owner, _, _ in _listening(lab, node) if owner == "mpi_trainer"]) >= 2 for node in lab.nodes)

        wait_until(all_listen, 20, "the ranks listen for their peers")
        ports = set()
        for node in lab.nodes:
            seen = _listening(lab, node)
            check(not [owner for owner, _, _ in seen if owner.startswith("trainyard")], f"nothing of ours to listen: {seen}")
            reached = {owner for owner, others, _ in seen if others}
            check("mpi_trainer" in reached and reached & {"orterun", "orted"}, f"ranks and their daemon: {seen}")
            ports.update(port for _, others, port in seen if others)
        blocks = {(port - 20000) // 256 for port in ports}
        check(len(blocks) == 1 and blocks <= set(range(46)), f"one block of 256 ports, of the attempt: {sorted(ports)}")
        world.terminate("j").ok()
        world.wait_idle(2)


if __name__ == "__main__":
    main(globals())
