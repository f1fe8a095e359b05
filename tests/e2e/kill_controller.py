#!/usr/bin/python3
"""kill -9 of the controller: nothing acknowledged is lost, a running job and its log stream go on, its end is recorded right."""
import time

from e2e import SHARE, Lab, World, check, main, wait_for_go


def mid_job():
    with Lab(nodes=4) as lab:
        world = World(lab)
        command = wait_for_go() + 'if [ $OMPI_COMM_WORLD_RANK = 0 ]; then for i in $(seq 1000); do echo line $i; done; fi; exit 0'
        world.submit("j", nodes=4, mpi=True, command="echo before; " + command)
        world.wait_for("j", "running")
        for rank in range(4):
            world.wait_file(f"started.{rank}")
        stream = world.stream("j")
        check(stream.stdout.readline() == "before\n", "the stream's first line")
        lab.kill_controller()
        killed = time.monotonic()
        lab.start_controller()
        back = time.monotonic() - killed
        check(back < 2.0, f"the controller back within 2 s, not {back:.2f}")
        check(world.state("j") == "running", "the job to run on")
        lab.wait_reachable(4)
        world.touch("go")
        job = world.succeed("j")
        check(job["executionInfo"]["exitCode"] == 0 and job["attempt"] == 1, f"its end recorded right: {job['executionInfo']}")
        out = stream.stdout.read()  # not communicate(): it would pass over what readline() has buffered
        check(stream.wait(timeout=10) == 0, f"the stream to end well: {stream.stderr.read()}")
        expected = "before\n" * 4 + "".join(f"line {i}\n" for i in range(1, 1001))
        check(world.output("j") == expected, f"every byte on the share: {world.output('j')[:60]!r}")
        check("before\n" + out == expected, f"every byte once in the stream, got {len(out)} bytes: {out[:60]!r}")


def ended_while_down():
    """The ranks end while there is no controller: the exit code is there when it is back."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("j", nodes=2, mpi=True, command=wait_for_go() + f"touch {SHARE}/over.$OMPI_COMM_WORLD_RANK; exit 7")
        world.wait_file("started.0")
        world.wait_for("j", "running")
        lab.kill_controller()
        world.touch("go")
        for rank in range(2):
            world.wait_file(f"over.{rank}")
        lab.start_controller()
        job = world.wait_end("j")
        check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == 7, f"failed with 7: {job['executionInfo']}")


def acknowledged():
    """Jobs acknowledged right before a kill -9 are all there afterwards, each once."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("blocker", command=wait_for_go())
        world.wait_file("started.0")
        for round_ in range(3):
            for n in range(5):
                world.submit(f"j{round_}_{n}", command="true")
            lab.kill_controller()
            lab.start_controller()
        names = sorted(j["name"] for j in lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json())
        check(names == sorted(["blocker"] + [f"j{r}_{n}" for r in range(3) for n in range(5)]), f"all 16 jobs, got {names}")
        lab.wait_reachable(1)
        world.touch("go")
        for round_ in range(3):
            for n in range(5):
                world.succeed(f"j{round_}_{n}")


if __name__ == "__main__":
    main(globals())
