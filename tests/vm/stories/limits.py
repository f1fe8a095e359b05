"""What jobs may use, by the controllers of cgroup v2: memory, processes, processors, a disk; weights and cores of parts; the end by cgroup.kill."""
import os
import time

from machine import DISK, SHARE, Machine, World, check, holding, holdings, note, nothing_left, part, read, run, wait_for_go, wait_until

MEMORY_MB, PROCESSES, CPU_PERCENT = 96, 60, 40
BURN = "python3 -c 'while True: pass'"


def _cpu_seconds(cgroup):
    return int(dict(line.split() for line in read(cgroup + "/cpu.stat").splitlines())["usage_usec"]) / 1e6


def out_of_memory():
    """The whole job ends (memory.oom.group) as OutOfMemory, with limit and peak; one that needs less runs."""
    with Machine(agent={"memory_limit_mb": MEMORY_MB}) as machine:
        world = World(machine)
        world.submit("big", command="setsid sleep 1000 & python3 -c 'x = bytearray(300 << 20)'; sleep 1000")
        job = world.wait_end("big")
        error = job["executionInfo"]["errors"][0]
        details = {d["name"]: d["value"] for d in error["details"]}
        check(error["code"] == "OutOfMemory" and int(details["limitBytes"]) == MEMORY_MB << 20, f"OutOfMemory: {job['executionInfo']} {job['reason']}")
        check(MEMORY_MB * 0.9 < int(details["peakBytes"]) / 2**20 <= MEMORY_MB, f"the peak: {details}")
        note(error["message"])
        nothing_left(world)
        world.submit("small", command="python3 -c 'x = bytearray(20 << 20); print(len(x))'")
        world.succeed("small")


def fork_bomb():
    """It fills pids.max and nothing else; a terminate ends it."""
    bomb = f"touch {SHARE}/lit; f() {{ f | f & }}; f; sleep 1000"
    with Machine(agent={"process_limit": PROCESSES}) as machine:
        world = World(machine)
        world.submit("bomb", command=bomb)
        world.wait_file("lit")
        cgroup = holding()

        def refused():
            return int(read(cgroup + "/job/pids.events").split()[1])

        wait_until(lambda: refused() > 0, 30, "forks to be refused")
        current = int(read(cgroup + "/job/pids.current"))
        check(current <= PROCESSES, f"at most {PROCESSES} processes: {current}")
        check(machine.node()["reachable"], "the agent to answer")
        note(f"{current} of {PROCESSES} processes, {refused()} forks refused")
        began = time.monotonic()
        world.terminate("bomb").ok()
        nothing_left(world)
        note(f"ended and clean after {time.monotonic() - began:.1f} s")


def processors():
    """Two busy processes have no more than cpu_limit_percent of one processor, on an idle machine too."""
    with Machine(agent={"cpu_limit_percent": CPU_PERCENT}) as machine:
        world = World(machine)
        world.submit("j", command=f"{BURN} & touch {SHARE}/up; {BURN}")
        world.wait_file("up")
        cgroup = holding() + "/job"
        check(read(cgroup + "/cpu.max") == f"{CPU_PERCENT * 1000} 100000\n", f"cpu.max: {read(cgroup + '/cpu.max')}")
        before, began = _cpu_seconds(cgroup), time.monotonic()
        time.sleep(10)  # what is measured is time
        used = 100 * (_cpu_seconds(cgroup) - before) / (time.monotonic() - began)
        check(CPU_PERCENT * 0.5 < used < CPU_PERCENT * 1.15, f"{CPU_PERCENT} % to be used, not {used:.0f}")
        note(f"{used:.1f} % of {CPU_PERCENT} % used by two busy processes; throttled {read(cgroup + '/cpu.stat').split('nr_throttled ')[1].split()[0]} times")
        world.terminate("j").ok()
        nothing_left(world)


def a_disk():
    """Reads and writes past the cache go no faster than disk_limits; weights of a part where the disk's scheduler has them."""
    run("mkfs.ext4", "-q", "-F", DISK)
    os.makedirs("/srv/disk", exist_ok=True)
    run("mount", DISK, "/srv/disk")
    run("modprobe", "bfq")
    with open(f"/sys/block/{os.path.basename(DISK)}/queue/scheduler", "w") as file:
        file.write("bfq")
    run("dd", "if=/dev/zero", "of=/srv/disk/file", "bs=1M", "count=16", "conv=fsync")
    os.chmod("/srv/disk", 0o777)
    took = "s=$(date +%s.%N); dd {0} bs=256k 2>/dev/null; e=$(date +%s.%N); echo \"{1} $(python3 -c \"print($e - $s)\")\"; "
    command = (took.format("if=/srv/disk/file of=/dev/null count=32 iflag=direct", "read") + took.format("if=/dev/zero of=/srv/disk/out count=32 oflag=direct", "write"))
    try:
        for name, limits in (("free", []), ("limited", [{"device": DISK, "read_mb_per_s": 1, "write_mb_per_s": 2}])):
            with Machine(agent={"disk_limits": limits}, gpus=4) as machine:
                world = World(machine)
                world.submit(name, command=command)
                world.succeed(name, 120)
                seconds = {line.split()[0]: float(line.split()[1]) for line in world.output(name).splitlines()}
                note(f"{name}: 8 MB read in {seconds['read']:.1f} s, written in {seconds['write']:.1f} s")
                if name == "limited":
                    check(seconds["read"] > 6 and seconds["write"] > 3, f"1 MB/s and 2 MB/s to be kept: {seconds}")
                world.submit("part", command=wait_for_go(), **part(1))
                world.wait_file("started.0")
                weight = read(holding() + "/io.bfq.weight").split()
                check(weight[-1] == "250", f"the weight of one GPU of four: {weight}")
                if limits:
                    line = read(holding() + "/job/io.max")
                    check("rbps=262144" in line and "wbps=524288" in line, f"a quarter of the limits: {line}")
                world.touch("go")
                world.succeed("part")
                nothing_left(world)
    finally:
        run("umount", "/srv/disk")


def weights_of_parts():
    """Two of three GPUs and one of three, on the same processors: twice the time, and each its share of the memory."""
    with Machine(agent={"part_limits": False}, gpus=3) as machine:
        world = World(machine)
        burn = f"for i in 1 2; do {BURN} & done; wait"
        groups = {}
        for name, gpus in (("two", 2), ("one", 1)):
            world.submit(name, command=f"touch {SHARE}/{name}; {burn}", **part(gpus))
            world.wait_file(name)
            [groups[name]] = [group for group in holdings() if group not in groups.values()]
        paths = {name: os.path.join("/sys/fs/cgroup/trainyard", group) for name, group in groups.items()}
        weights = {name: read(path + "/cpu.weight").strip() for name, path in paths.items()}
        check(weights == {"two": "200", "one": "100"}, f"weights by GPUs: {weights}")
        before = {name: _cpu_seconds(path) for name, path in paths.items()}
        time.sleep(20)  # what is measured is time
        used = {name: _cpu_seconds(path) - before[name] for name, path in paths.items()}
        check(1.5 < used["two"] / used["one"] < 2.6, f"twice as much: {used}")
        note(f"processor time of 2 GPUs to 1: {used['two']:.1f} s to {used['one']:.1f} s, {used['two'] / used['one']:.2f} to 1")
        for name in groups:
            world.terminate(name).ok()
        nothing_left(world)


def cores_and_memory_of_parts():
    """Each half of the node has a core of its own, which it cannot leave, and half of the memory; one that needs more ends alone."""
    tell = f"grep Cpus_allowed_list /proc/self/status > {SHARE}/$0.new; taskset -pc 0-1 $$ >/dev/null 2>&1; nproc >> {SHARE}/$0.new; mv {SHARE}/$0.new {SHARE}/$0"
    with Machine(agent={"memory_limit_mb": 192}, gpus=2) as machine:
        world = World(machine)
        for name in ("a", "b"):
            world.submit(name, command=f"bash -c '{tell}' {name}; {wait_for_go('grow', name + '-up')} "
                                        f"if [ {name} = a ]; then {wait_for_go()} else python3 -c 'x = bytearray(150 << 20)'; fi", **part(1))
        for name in ("a", "b"):
            world.wait_file(name)
        seen = {name: world.read(name).split() for name in ("a", "b")}
        check(sorted(words[1] for words in seen.values()) == ["0", "1"] and [words[2] for words in seen.values()] == ["1", "1"], f"a core each, for good: {seen}")
        for group in holdings():
            path = f"/sys/fs/cgroup/trainyard/{group}/job"
            check(read(path + "/memory.max") == f"{96 << 20}\n" and len(read(path + "/cpuset.cpus.effective").split(",")) == 1, f"half of the memory and one core of {group}")
        world.touch("grow")
        error = world.wait_end("b")["executionInfo"]["errors"][0]
        check(error["code"] == "OutOfMemory" and "1 of 2 GPUs" in error["message"], f"its part's limit: {error}")
        check(world.state("a") == "running", "the other job to run on")
        world.touch("go")
        world.succeed("a")
        nothing_left(world)


def what_does_not_want_to_end():
    """Processes in sessions of their own that ignore SIGTERM, and fork for ever: gone by cgroup.kill, and counted in the receipt."""
    nasty = ("import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nfor i in range(4):\n if os.fork() == 0: os.setsid()\n"
             "while True:\n if os.fork(): os._exit(0)\n")
    with Machine(agent={"process_limit": PROCESSES}) as machine:
        world = World(machine)
        with open("/srv/nasty.py", "w") as file:
            file.write(nasty)
        world.submit("j", command=f"python3 /srv/nasty.py & python3 /srv/nasty.py & touch {SHARE}/up; trap '' TERM; while :; do sleep 1; done")
        world.wait_file("up")
        began = time.monotonic()
        world.terminate("j").ok()
        job = world.wait_end("j")
        nothing_left(world)
        note(f"clean after {time.monotonic() - began:.1f} s; the receipt: {job['cleanupReceipts'][0]['tookMs']} ms")
