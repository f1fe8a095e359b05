#!/usr/bin/python3
"""A full disk on the controller: submits are refused, running jobs go on, their end is recorded; and it recovers."""
from e2e import Lab, World, check, main, os, wait_for_go, wait_until

FLOOR_MB = 96  # more than the reserve that is released when the disk is full


def _small_disk(lab, size_mb):
    head = lab.network.hosts["head"]
    os.makedirs(lab.state_dir, exist_ok=True)
    done = head.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "tmpfs", lab.state_dir])
    check(done.returncode == 0, done.stderr)


def _free_kb(lab):
    return int(lab.network.hosts["head"].run(["stat", "-f", "-c", "%a * %S / 1024", lab.state_dir]).stdout.split()[0]) * 4


def _fill(lab, leave_kb):
    free = _free_kb(lab)
    done = lab.network.hosts["head"].run(["dd", "if=/dev/zero", f"of={lab.state_dir}/filler", "bs=1024", f"count={max(1, free - leave_kb)}"])
    return done.returncode


def _empty(lab):
    lab.network.hosts["head"].run(["rm", "-f", f"{lab.state_dir}/filler"])


def _start(lab):
    _small_disk(lab, 320)
    lab.start_controller()
    for node in lab.nodes:
        lab.start_agent(node, wait=False)
    lab.wait_reachable(len(lab.nodes))
    return World(lab)


def _late(world):
    return world.create("late", world.body(command="true"), "--retry-for", 0)


def below_the_floor():
    with Lab(nodes=1, start=False, config={"free_space_floor_mb": FLOOR_MB}) as lab:
        world = _start(lab)
        world.submit("j", command=wait_for_go() + "exit 6")
        world.wait_file("started.0")
        _fill(lab, FLOOR_MB * 1024 // 2)

        def refused():
            return _late(world).rc != 0

        wait_until(refused, 10, "submits are refused below the floor", 0.1)
        _late(world).failed("space")
        check(world.state("j") == "running", "the running job to go on")
        world.touch("go")
        job = world.wait_end("j")
        check(job["executionInfo"]["exitCode"] == 6, "its end recorded")
        _empty(lab)
        wait_until(lambda: _late(world).rc == 0, 10, "submits are taken again", 0.1)
        world.succeed("late")


def completely_full():
    """Not one block free: the reserve file is what the running job's end is written with."""
    with Lab(nodes=1, start=False, config={"free_space_floor_mb": FLOOR_MB}) as lab:
        world = _start(lab)
        world.submit("j", command=wait_for_go() + "exit 6")
        world.wait_file("started.0")
        world.wait_for("j", "running")
        _fill(lab, 0)
        world.touch("go")
        job = world.wait_end("j")
        check(job["executionInfo"]["exitCode"] == 6, "its end recorded on a full disk")
        _late(world).failed("space")
        _empty(lab)
        wait_until(lambda: _late(world).rc == 0, 10, "submits are taken again", 0.1)
        world.succeed("late")


if __name__ == "__main__":
    main(globals())
