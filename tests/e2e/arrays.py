#!/usr/bin/python3
"""Job arrays and sweeps: tasks that come one after the other, with their parameters; restarts, ends, many at once."""
import json
import os

from e2e import SHARE, Lab, World, check, main, wait_until

# Each task says with what it runs, and waits until it may end.
SAYS = (f'echo "$lr $bs $TRAINYARD_TASK_INDEX/$TRAINYARD_TASK_COUNT"; touch {SHARE}/started.$TRAINYARD_TASK_INDEX; '
        f'while [ ! -e {SHARE}/go.$TRAINYARD_TASK_INDEX ]; do sleep 0.05; done; ')


def _create(world, name, *flags, command=SAYS):
    path = os.path.join(world.lab.root, f"array-{name}.json")
    with open(path, "w") as file:
        json.dump(world.body(command=command), file)
    return world.lab.cli("job", "array", "create", *world.at(name), "-c", "c", "-f", path, *flags, "-o", "json")


def _array(world, name):
    return world.lab.cli("job", "array", "show", *world.at(name), "-o", "json").json()


def _tasks(world, name):
    return world.lab.cli("job", "array", "tasks", *world.at(name), "-o", "json").json()


def _running(world, name):
    return [task["taskIndex"] for task in _tasks(world, name) if task["phase"] == "running"]


def _wait_running(world, name, indices):
    wait_until(lambda: _running(world, name) == indices, 40, f"tasks {indices} of {name} run", 0.05)


def grid_over_restarts():
    """Four combinations on two nodes, two at once: each has its values, also after kill -9 of the controller in the middle."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        made = _create(world, "sweep", "--grid", "lr=0.1,0.01", "--grid", "bs=32,64", "--parallel", 2).json()
        check(made["tasks"] == 4 and made["parallel"] == 2, f"as asked for: {made}")
        _wait_running(world, "sweep", [0, 1])
        check(len(_tasks(world, "sweep")) == 2, "two tasks to be jobs, and no more")
        world.touch("go.1")
        _wait_running(world, "sweep", [0, 2])
        lab.kill_controller()
        world.touch("go.0")  # it ends while nobody counts
        lab.start_controller()
        _wait_running(world, "sweep", [2, 3])
        waiting = lab.cli_process("job", "array", "wait", *world.at("sweep"))
        for index in (2, 3):
            world.touch(f"go.{index}")
        check(waiting.wait(timeout=40) == 0, "wait to exit with 0")
        said = [world.output(f"sweep_{index}").strip() for index in range(4)]
        check(said == ["0.1 32 0/4", "0.1 64 1/4", "0.01 32 2/4", "0.01 64 3/4"], f"their values: {said}")
        listed = lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json()
        check([(job["name"], job["arrayName"], job["taskIndex"]) for job in listed] == [(f"sweep_{i}", "sweep", i) for i in range(4)], f"jobs: {listed}")
        table = lab.cli("job", "array", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "table").ok()
        check("succeeded" in table and table.split("\n")[2].split()[3:] == ["4", "2", "0", "0", "0", "4", "0"], f"the table:\n{table}")
        lab.cli("job", "array", "delete", *world.at("sweep"), "-y").ok()
        gone = lab.cli("job", "array", "show", *world.at("sweep"))
        check(gone.rc == 3 and "job array sweep is not in experiment x" in gone.err, f"gone: {gone.err}")


def terminate_and_failures():
    """Terminated, no more come; a task that fails makes the array fail, and wait says so. A list's rows arrive as they stand."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        _create(world, "ends", "--tasks", 50, "--parallel", 2).ok()
        _wait_running(world, "ends", [0])
        ended = lab.cli("job", "array", "terminate", *world.at("ends"), "-y", "-o", "json").json()
        check(ended["executionState"] == "terminated" and ended["taskCounts"]["failed"] == 2, f"its end: {ended}")
        check(ended["taskCounts"]["waiting"] == 48, f"no more came: {ended}")
        check("job array ends: terminated by" in str(world.job("ends_0")["executionInfo"]), f"the task's end: {world.job('ends_0')}")
        rows = os.path.join(lab.root, "rows.csv")
        with open(rows, "w") as file:
            file.write('code,text\n0,"a, ""b"""\n3,c\n')
        _create(world, "rows", "--list", rows, command='echo "$text"; exit $code').ok()
        failed = lab.cli("job", "array", "wait", *world.at("rows"))
        check(failed.rc == 1 and "1 of 2 tasks has failed" in failed.err, f"wait: {failed.err}")
        check([world.output(f"rows_{i}") for i in (0, 1)] == ['a, "b"\n', "c\n"], "the rows' values")
        check(world.job("rows_1")["executionInfo"]["exitCode"] == 3, "the second one to fail")
        taken = world.create("rows_1", world.body(command="true"))
        check(taken.rc == 1, f"the name is a task's: {taken.err}")
        wrong = _create(world, "wrong", "--grid", "lr=1", "--tasks", 2)
        check(wrong.rc == 1 and "the parameters make 1 tasks, not 2" in wrong.err, f"refused: {wrong.err}")


def many_held_and_drawn():
    """100,000 tasks are taken at once as one record; held, nothing comes of them; the same seed draws the same values."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        drawn = ("--random", "lr=0.0001:0.1:log", "--seed", 7)
        _create(world, "large", "--tasks", 100000, *drawn, "--hold").ok()
        check(_tasks(world, "large") == [], "no jobs while it is held")
        lab.kill_controller()
        lab.start_controller()
        check("until `trainyard job array release`" in _array(world, "large")["reason"], "it says what it waits for")
        lab.cli("job", "array", "update", *world.at("large"), "--parallel", 1).ok()
        lab.cli("job", "array", "release", *world.at("large")).ok()
        _wait_running(world, "large", [0])
        world.touch("go.0")
        _wait_running(world, "large", [1])
        counts = _array(world, "large")["taskCounts"]
        check(counts == {"failed": 0, "queued": 0, "running": 1, "succeeded": 1, "waiting": 99998}, f"counts: {counts}")
        check(world.output("large_0").split()[0] == "0.0479753", f"the drawn value: {world.output('large_0')}")
        lab.cli("job", "array", "delete", *world.at("large"), "-y").ok()
        world.wait_idle(1)


if __name__ == "__main__":
    main(globals())
