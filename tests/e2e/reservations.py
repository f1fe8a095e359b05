#!/usr/bin/python3
"""Nodes that are kept free for a time: who would run into it waits, who is gone before goes ahead, its workspace's jobs run."""
from e2e import Lab, World, check, main, wait_for_go


def _minutes(count):
    return {"constraints": {"maxWallClockTime": f"PT{count}M"}}


def maintenance():
    """A job with a long limit waits for the window's end and says so; a short one runs; without the window both do."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        lab.cli("reservation", "create", "-n", "disks", "--nodes", "node1", "--from", "+30m", "--until", "+2h", "--why", "new disks").ok()
        world.submit("long", command="true", **_minutes(60))
        world.submit("short", command="true", **_minutes(20))
        world.succeed("short")
        told = lab.cli("job", "why", *world.at("long"), "-o", "json").json()
        reserved = [o for o in told["obstacles"] if o["code"] == "reserved"]
        check(len(reserved) == 1 and reserved[0]["nodes"] == 1 and "(disks): new disks" in reserved[0]["text"], f"why: {told}")
        check(any(r["kind"] == "shorterLimit" for r in told["relaxations"]), f"what would help: {told['relaxations']}")
        check(told["earliestStart"] is not None, f"a time after the window: {told}")
        lab.kill_controller()
        lab.start_controller()
        lab.wait_reachable(1)
        listed = lab.cli("reservation", "list", "-o", "json").json()
        check(len(listed) == 1 and listed[0]["nodes"] == ["node1"] and listed[0]["workspace"] is None, f"it lasts: {listed}")
        check(world.state("long") == "queued", "the long job to wait still")
        lab.cli("reservation", "delete", "-n", "disks", "-y").ok()
        world.succeed("long")
        refused = lab.cli("reservation", "create", "-n", "late", "--nodes", "node1", "--from", "-2h", "--until", "-1h")
        check(refused.rc == 1 and "has passed" in refused.err, f"refused: {refused.err}")


def for_a_workspace():
    """Its jobs run in the window; a job of another workspace waits until it is over."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        lab.cli("workspace", "create", "-g", "g", "-n", "course").ok()
        lab.cli("reservation", "create", "-n", "course", "--nodes", "node1", "--from", "-1s", "--until", "+1h", "-g", "g", "-w", "course").ok()
        world.submit("other", command="true", **_minutes(1))
        told = lab.cli("job", "why", *world.at("other"), "-o", "json").json()
        check(any(o["code"] == "reserved" for o in told["obstacles"]), f"why: {told}")
        lab.cli("reservation", "delete", "-n", "course", "-y").ok()
        lab.cli("reservation", "create", "-n", "course", "--nodes", "node1", "--from", "-1s", "--until", "+1h", "-g", "g", "-w", "w").ok()
        world.succeed("other")
        world.submit("own", command=wait_for_go())
        world.wait_for("own", "running")
        world.touch("go")
        world.succeed("own")


if __name__ == "__main__":
    main(globals())
