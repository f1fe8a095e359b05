#!/usr/bin/python3
"""Jobs on shared machines: whom they run as, and that they reach neither the machine nor what belongs to others."""
import json
import shutil
import subprocess

from e2e import CHECKOUT, SHARE, Lab, World, check, main, os, wait_for_go, wait_until

PROBE = os.path.join(CHECKOUT, "tests", "support", "isolation", "probe.py")
SECRET = "canary-isolation-7c1e"
VICTIM = "victim-of-probe"
SHM_KEY = 0x5ec12e7
# What a job that the operator lets run as root keeps (agent/exec/confine.cc).
ROOT_KEEPS = sum(1 << n for n in (0, 1, 3, 4, 5, 6, 7, 10, 14))
# Root may change to other users of its own sandbox, and give its processes less or more of their own limits.
ROOT_MAY = {"setuid(0)", "setgroups", "setuid program"}

OTHERS = f"""
import ctypes, socket, time
libc = ctypes.CDLL(None)
assert libc.shmget({SHM_KEY}, 4096, 0o1666) >= 0
for path in ("/dev/shm/{SECRET}", "/tmp/{SECRET}", "/var/tmp/{SECRET}"):
    open(path, "w").write("theirs")
s = socket.socket(socket.AF_UNIX)
s.bind("/run/trainyard/other.socket")
s.listen()
print("ready", flush=True)
time.sleep(1000)
"""


class Others:
    """On a node: what another job would have there, all of it open to everybody as far as modes go."""

    def __init__(self, lab, node):
        host = lab.network.hosts[node]
        self.jobs = os.path.join(host.folder, "work", "jobs", "other-j99-a1")
        os.makedirs(self.jobs)
        os.chmod(self.jobs, 0o777)
        with open(os.path.join(self.jobs, "file"), "w") as file:
            file.write(SECRET)
        program = os.path.join(lab.root, VICTIM)
        shutil.copy("/usr/bin/python3", program)
        self.process = host.start([program, "-c", OTHERS], env={**os.environ, "TOKEN": SECRET}, stdout=subprocess.PIPE, text=True)
        check(self.process.stdout.readline() == "ready\n", "the other job's process")
        self.pid = next(pid for pid in host.pids() if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == VICTIM)

    def inner_pid(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(line.split()[-1] for line in status if line.startswith("NSpid:"))


def _known(lab, node, others, capabilities):
    share = os.path.join(lab.storage, "a", "s")
    for name in ("sh", "dash"):
        if os.path.exists(f"/bin/{name}"):
            shell = os.path.join(share, "rootsh")
            shutil.copy(os.path.realpath(f"/bin/{name}"), shell)
            os.chmod(shell, 0o4755)
            break
    other = os.path.join(lab.storage, "b", "other")
    known = {"victim": VICTIM, "victim_pid": others.inner_pid(), "secret": SECRET, "shm_key": SHM_KEY, "setuid_shell": f"{SHARE}/rootsh",
             "capabilities": f"{capabilities:x}", "run_dir": "/run/trainyard", "config": os.path.join(lab.root, f"{node}.json"),
             "other_job": os.path.join(lab.root, "work", "jobs", "other-j99-a1"), "spool": os.path.join(lab.network.hosts[node].folder, "spool"),
             "other_share": other}
    return " ".join(f'"{name}={value}"' for name, value in known.items())


def _probe(world, name, capabilities, may=frozenset()):
    lab = world.lab
    node = lab.nodes[0]
    lab.cli("storage", "account", "create", "-g", "g", "-n", "b")
    lab.cli("storage", "share", "create", "-n", "other", "--account-name", "b").ok()
    path = os.path.join(lab.root, "file")
    with open(path, "w") as file:
        file.write(SECRET)
    for share, account, source in (("other", "b", path), ("s", "a", PROBE)):
        lab.cli("storage", "file", "upload", "-s", share, "--account-name", account, "--source", source).ok()
    others = Others(lab, node)
    try:
        world.submit(name, command=f"python3 {SHARE}/probe.py {_known(lab, node, others, capabilities)}; id; cat /proc/self/cgroup")
        world.succeed(name)
        out = world.output(name)
        found = dict(line.split("\t", 1) for line in out.splitlines() if "\t" in line)
        check(len(found) > 50, f"the whole table: {out}")
        allowed = {attempt: outcome for attempt, outcome in found.items() if not outcome.startswith("refused")}
        for attempt, outcome in found.items():
            print(f"    {attempt}: {outcome}")
        check(set(allowed) <= may, f"{len(found)} attempts refused, but: {allowed}")
        check(others.process.poll() is None and "cgroup" not in os.listdir(others.jobs), "the others to be untouched")
    finally:
        others.process.kill()
        others.process.wait()
        if os.path.exists(f"/var/tmp/{SECRET}"):  # where hosts have no /var/tmp of their own
            os.remove(f"/var/tmp/{SECRET}")
    shutil.rmtree(others.jobs)
    check(f"trainyard/" in out and "/job" in out.splitlines()[-1], f"still in its own cgroup: {out.splitlines()[-1]}")
    return out


def probe():
    """Some sixty attempts to get out, by a job of an ordinary workspace."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        out = _probe(world, "j", 0)
        uid = world.job("j")["runAs"].split(":")[0]
        check(20000 <= int(uid) < 60000 and f"uid={uid}" in out, f"a user id of the workspace's own: {uid}: {out.splitlines()[-2:]}")


def probe_as_root():
    """The same where the operator lets jobs run as root: they own nothing that is not theirs."""
    with Lab(nodes=1, config={"users": [{"workspace": "*", "uid": 0}], "allow_system_users": True}) as lab:
        world = World(lab)
        out = _probe(world, "j", ROOT_KEEPS, ROOT_MAY)
        check("uid=0" in out and world.job("j")["runAs"] is None, f"root: {out.splitlines()[-2:]}")


GANG = f"""
me=$OMPI_COMM_WORLD_RANK
echo "rank $me $(id -u):$(id -g) $(id -G | tr ' ' ',')"
echo "and on stderr" > /dev/stderr
touch $AZ_BATCHAI_OUTPUT_MODEL/of.$me {SHARE}/top.$me $AZ_BATCHAI_SHARED_JOB_TEMP/rank.$me ~/home.$me /tmp/tmp.$me
[ $OMPI_COMM_WORLD_LOCAL_RANK = 0 ] && echo $TRAINYARD_NODE > /dev/shm/met
while [ "$(cat /dev/shm/met 2>/dev/null)" != $TRAINYARD_NODE ]; do sleep 0.05; done
touch {SHARE}/started.$me
while [ ! -e {SHARE}/go ]; do sleep 0.05; done
"""


def _statuses(pids):
    """/proc/PID/status of those that are still there, by key."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as file:
                yield {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
        except OSError:
            continue  # a script's sleep, say, has ended meanwhile


def mpirun_as_a_user():
    """mpirun, orted and 8 ranks on four nodes as the operator's user; ranks of a node share memory; an agent's restart and commands
    in the job meet the same."""
    users = [{"workspace": "*", "uid": 30000}, {"workspace": "g/w", "uid": 20123, "gid": 20124, "groups": [44, 20125]}]
    with Lab(nodes=4, config={"users": users}) as lab:
        world = World(lab)
        world.submit("j", nodes=4, mpi=True, processes=8, command="bash -c '" + GANG.replace("'", "'\\''") + "'",
                     preparation="echo 'export PREPARED=yes' >> ~/.bashrc; touch /tmp/prepared",
                     outputDirectories=[{"id": "MODEL", "pathPrefix": SHARE + "/out"}])
        for rank in range(8):
            world.wait_file(f"started.{rank}")
        for node in lab.nodes:
            statuses = list(_statuses(world.job_pids(node)))
            check(sum(status["Name"] == "bash" for status in statuses) >= 2, f"two ranks on {node}: {[s['Name'] for s in statuses]}")
            for status in statuses:
                check(status["Uid"].split() == ["20123"] * 4 and status["Gid"].split() == ["20124"] * 4, f"user of {status['Name']}: {status['Uid']}")
                check(int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1", f"privileges of {status['Name']}")
        lab.kill_agent("node2")
        lab.start_agent("node2")
        inside = lab.cli("job", "node", "exec", "-g", "g", "-w", "w", "-e", "x", "-j", "j", "--exec",
                         "id -u; ls /tmp; ps -e -o comm= | sort -u | tr '\\n' ' '; echo $PREPARED").ok()
        check(inside.splitlines()[0] == "20123" and "prepared" in inside and "yes" in inside, f"a command in the job: {inside}")
        check("trainyard-agent" not in inside and "sleep" in inside, f"sees the job's processes only: {inside}")
        world.touch("go")
        world.succeed("j")
        lines = sorted(line for line in world.output("j").splitlines() if line.startswith("rank"))
        check(lines == [f"rank {r} 20123:20124 20124,44,20125" for r in range(8)], f"all ranks as the user: {lines}")
        check(world.output("j", "stderr.txt").count("and on stderr") == 8, "what goes to /dev/stderr")
        check(os.stat(os.path.join(world.share, "top.3")).st_uid == 20123, "files on the share are the user's")
        check(world.job("j")["runAs"] == "20123:20124", "shown in job show")
        for node in lab.nodes:
            check(not os.path.exists(f"/proc/{lab.network.hosts[node].pid}/root/tmp/prepared"), f"nothing in {node}'s own /tmp")


def system_users():
    """User ids below 1000 are refused, unless the operator says that he means it."""
    with Lab(nodes=1, start=False, config={"users": [{"workspace": "g/*", "uid": 999}]}) as lab:
        host = lab.network.hosts["head"]
        argv = [os.path.join(lab.root, "bin", "trainyard-controller"), "--config", os.path.join(lab.root, "controller.json")]
        refused = host.run(argv, timeout=20)
        check(refused.returncode != 0 and "users[0].uid" in refused.stderr + refused.stdout and "allow_system_users" in refused.stderr + refused.stdout,
              f"refused, naming the keys: {refused.stdout}{refused.stderr}")


def where_namespaces_are_not_permitted():
    """isolation: user. The job's user and privileges are the same; what it leaves in /dev/shm and as segments is removed and counted."""
    leave = ("python3 -c 'import ctypes; ctypes.CDLL(None).shmget(77, 4096, 0o1600)'; touch /dev/shm/left; id -u; grep CapBnd /proc/self/status")
    with Lab(nodes=1, agent={"isolation": "user"}) as lab:
        world = World(lab)
        world.submit("j", command=leave)
        job = world.succeed("j")
        out = world.output("j").split()
        check(out[0] == job["runAs"].split(":")[0] and int(out[2], 16) == 0, f"user and privileges: {out}")
        parts = {p["what"]: p["count"] for p in job["cleanupReceipts"][0]["parts"]}
        check(parts["sharedMemory"] == 2, f"a file and a segment in the receipt: {parts}")
        host = lab.network.hosts["node1"]
        check(host.run(["ls", "/dev/shm"]).stdout == "" and "77" not in host.run(["ipcs", "-m"]).stdout.split(), "nothing left")


if __name__ == "__main__":
    main(globals())
