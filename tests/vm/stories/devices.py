"""A part of a node cannot open the devices of GPUs that are another's: in v2 by a BPF program of the job's cgroup (decision 0064). GPUs are
pretended: the driver's list in /proc is a tmpfs, the devices are harmless ones under NVIDIA's names."""
import os

from machine import SHARE, Machine, World, check, note, nothing_left, part, run, wait_for_go

# Of each GPU: minor, and the numbers of the device that stands for it, /dev/full and /dev/zero under other names.
GPUS = [(0, (1, 7)), (1, (1, 5))]
OTHER_NAME = "/srv/devices/gpu{}"  # a node that the sandbox does not hide: only the cgroup is in the way


def _pretend_driver():
    if not os.path.isdir("/proc/driver/nvidia"):
        run("mount", "-t", "tmpfs", "tmpfs", "/proc/driver")
    os.makedirs("/srv/devices", exist_ok=True)
    for minor, (major_number, minor_number) in GPUS:
        folder = f"/proc/driver/nvidia/gpus/0000:0{minor}:00.0"
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/information", "w") as file:
            file.write(f"Model: \t\t Pretended\nGPU UUID: \t PRETEND-vm-{minor}\nDevice Minor: \t {minor}\n")
        for path in (f"/dev/nvidia{minor}", OTHER_NAME.format(minor)):
            if not os.path.exists(path):
                run("mknod", "-m", "666", path, "c", major_number, minor_number)


def _tell(name):
    """Which of the devices it can open, by the name that nobody hides; and that others are as ever."""
    opens = "; ".join(f"(exec 3<{OTHER_NAME.format(minor)}) 2>/dev/null && echo opens {minor} || echo refused {minor}" for minor, _ in GPUS)
    sees = "stat -c %t:%T /dev/nvidia0 /dev/nvidia1 | tr '\\n' ' '"  # the sandbox puts /dev/null, 1:3, over those of others
    return f"{{ {opens}; head -c 1 /dev/urandom >/dev/null && echo x >/dev/null && echo others; echo sees $({sees}); }} > {SHARE}/{name}.new 2>&1; mv {SHARE}/{name}.new {SHARE}/{name}; "


def gpus_of_others_cannot_be_opened():
    """Each of two jobs opens its own GPU and not the other's, also after a restart of the agent; a job of the whole node opens both."""
    _pretend_driver()
    with Machine(gpus=2) as machine:
        world = World(machine)
        for name in ("a", "b"):
            world.submit(name, command=f"{_tell(name)}{wait_for_go('again', name + '-told')}{_tell(name + '2')}{wait_for_go()}", **part(1))
            world.wait_file(name)
        seen = {name: world.read(name).split("\n")[:-1] for name in ("a", "b")}
        expected = [["opens 0", "refused 1", "others", "sees 1:7 1:3"], ["refused 0", "opens 1", "others", "sees 1:3 1:5"]]
        check(sorted(seen.values()) == sorted(expected), f"each its own GPU: {seen}")
        note(f"job a: {', '.join(seen['a'])}; job b: {', '.join(seen['b'])}")
        run("systemctl", "restart", "trainyard-agent")
        machine.wait_reachable()
        world.touch("again")
        for name in ("a", "b"):
            world.wait_file(name + "2")
            check(world.read(name + "2").split("\n")[:-1] == seen[name], f"the same after a restart: {world.read(name + '2')}")
        world.touch("go")
        for name in ("a", "b"):
            world.succeed(name)
        nothing_left(world)
        world.submit("whole", command=_tell("whole"))
        world.succeed("whole")
        check(world.read("whole").split("\n")[:2] == ["opens 0", "opens 1"], f"the whole node's both: {world.read('whole')}")


def without_a_sandbox():
    """isolation: user, where nothing is hidden: the program alone refuses."""
    _pretend_driver()
    with Machine(gpus=2, agent={"isolation": "user"}) as machine:
        world = World(machine)
        world.submit("a", command=_tell("a"), **part(1))
        world.succeed("a")
        seen = world.read("a").split("\n")
        check(sorted(seen[:2]) in (["opens 0", "refused 1"], ["opens 1", "refused 0"]) and "sees 1:7 1:5" in seen, f"both are seen, one is refused: {seen}")
