#!/usr/bin/python3
"""What keeps a job out of the queue, and its place in it: hold and release, dependencies, priorities."""
from e2e import Lab, World, check, main, wait_for_go


def a_pipeline():
    """prepare -> train -> report, and an alarm that is for failures only; then a chain whose first job fails."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("prepare", command=wait_for_go())
        world.wait_for("prepare", "running")
        world.submit("train", command="true", dependencies=[{"job": "prepare"}])
        world.create("report", world.body(command="true"), "--after-any", "train", "--after-ok", "prepare").ok()
        world.create("alarm", world.body(command="true"), "--after-not-ok", "train").ok()
        shown = world.job("train")
        check(shown["reason"] == "waits for x/prepare (running) to succeed", f"why it waits: {shown['reason']}")
        check(shown["dependencies"] == [{"condition": "afterOk", "job": "x/prepare", "met": False}], f"as submitted: {shown['dependencies']}")
        lab.kill_controller()
        lab.start_controller()
        world.touch("go")
        for name in ("prepare", "train", "report"):
            world.succeed(name)
        ended = world.job("alarm")
        check(ended["executionState"] == "failed" and "DependencyNeverMet" in str(ended["executionInfo"]), f"the alarm's end: {ended}")
        world.submit("bad", command="exit 3")
        world.wait_for("bad", "failed")
        refused = world.create("after", world.body(command="true"), "--after-ok", "bad")
        check(refused.rc == 1 and "job bad has failed: afterOk can never be met" in refused.err, f"refused at once: {refused.err}")


def hold_release_and_priority():
    """A held job lets others by; why says who holds it; released it runs. A higher priority overtakes."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("first", command=wait_for_go())
        world.wait_for("first", "running")
        world.create("kept", world.body(command="true"), "--hold").ok()
        world.submit("a", command="echo a")
        world.submit("b", command="echo b")
        lab.cli("job", "hold", *world.at("a"), "--why", "not before the review")
        told = lab.cli("job", "why", *world.at("a"), "-o", "json").json()
        check(told["obstacles"][0]["code"] == "heldBack" and "not before the review" in told["obstacles"][0]["text"], f"why: {told}")
        lab.cli("job", "release", *world.at("a"))
        lab.cli("job", "update", *world.at("b"), "--priority", "high")
        world.touch("go")
        for name in ("first", "a", "b"):
            world.succeed(name)
        started = {name: world.job(name)["executionInfo"]["startTime"] for name in ("a", "b")}
        check(started["b"] < started["a"], f"b before a: {started}")
        kept = world.job("kept")
        check(kept["executionState"] == "queued" and kept["hold"]["who"] == kept["submittedBy"], f"still held: {kept}")
        late = lab.cli("job", "hold", *world.at("b"))
        check(late.rc == 1 and "has ended: only a queued job can be held" in late.err, f"too late: {late.err}")
        lab.cli("job", "release", *world.at("kept"))
        world.succeed("kept")


def classes_of_the_operator():
    """urgent goes before high, scavenger after low; a name that is not defined is refused with those that are."""
    with Lab(nodes=1, config={"scheduling": {"classes": {"urgent": 200, "scavenger": -200}}}) as lab:
        world = World(lab)
        world.submit("first", command=wait_for_go())
        world.wait_for("first", "running")
        for name, priority in (("s", "scavenger"), ("l", "low"), ("h", "high"), ("u", "URGENT")):
            world.submit(name, command="true", schedulingPriority=priority)
        world.submit("n", command="true")
        check(world.job("u")["schedulingPriority"] == "urgent", f"shown by its name: {world.job('u')['schedulingPriority']}")
        lab.cli("job", "update", *world.at("n"), "--priority", "Scavenger").ok()
        check("was normal" in lab.cli("job", "timeline", *world.at("n")).ok(), "its timeline")
        lab.kill_controller()
        lab.start_controller()
        check(world.job("n")["schedulingPriority"] == "scavenger", "kept over a restart")
        world.create("bad", world.body(command="true", schedulingPriority="soon")).failed("soon", "low, normal, high, scavenger, urgent")
        world.touch("go")
        for name in ("first", "u", "h", "l", "s", "n"):
            world.succeed(name)
        started = [world.job(name)["executionInfo"]["startTime"] for name in ("u", "h", "l", "s", "n")]
        check(started == sorted(started), f"one after the other: {started}")


if __name__ == "__main__":
    main(globals())
