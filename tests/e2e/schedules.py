#!/usr/bin/python3
"""Job schedules: jobs at the times of a cron expression, once each, whatever happens to the controller in between.

Real minutes pass in the first test only. In the others the time that is due next is moved back in the database of a killed
controller: to the next one it looks as if nobody had been there for so long.
"""
import json
import os
import sqlite3
import time

from e2e import Lab, World, check, main, wait_for_go, wait_until

RUNS = wait_for_go()


def _create(world, name, *flags, cron="* * * * *", command=RUNS):
    path = os.path.join(world.lab.root, f"schedule-{name}.json")
    with open(path, "w") as file:
        json.dump(world.body(command=command), file)
    return world.lab.cli("job", "schedule", "create", *world.at(name), "-c", "c", "-f", path, "--cron", cron, *flags, "-o", "json")


def _schedule(world, name):
    return world.lab.cli("job", "schedule", "show", *world.at(name), "-o", "json").json()


def _outcomes(world, name):
    return [run["outcome"] for run in _schedule(world, name)["runs"]]


def _wait_run(world, name, count, deadline_s=30):
    """Until so many of its times have come; the newest of them."""
    wait_until(lambda: len(_outcomes(world, name)) >= count, deadline_s, f"{count} times of {name} come", 0.2)
    return _schedule(world, name)["runs"][-1]


def _asleep(world, name, minutes):
    """No controller for so long, as the next one sees it."""
    world.lab.kill_controller()
    database = sqlite3.connect(os.path.join(world.lab.state_dir, "trainyard.db"), timeout=10)
    with database:
        database.execute("UPDATE job_schedules SET next_ms = next_ms - ? WHERE name = ?", (minutes * 60000, name))
    database.close()
    world.lab.start_controller()


def _jobs(world):
    listed = world.lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").json()
    return sorted((job["name"], job["scheduleName"], job["executionState"]) for job in listed)


def minutes_over_a_kill():
    """Every minute, for real: a job comes; the next one's time passes without a controller; of those that ended one is kept."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        # allow: the end of the first may be heard after the time that is made up for.
        made = _create(world, "tick", "--keep", 1, "--overlap", "allow").json()
        check(len(made["nextTimes"]) == 3 and made["runs"] == [], f"as created: {made}")
        first = _wait_run(world, "tick", 1, 65)
        due = first["dueTime"]
        check(first["jobName"] == "tick-" + due[:16].replace("-", "").replace("T", "-").replace(":", ""), f"its name: {first}")
        job = world.wait_for(first["jobName"], "running")
        check(job["scheduleName"] == "tick" and job["scheduleTime"] == due, f"it says of which schedule it is: {job}")
        lab.kill_controller()
        world.touch("go")  # it ends while nobody counts
        next_minute = (int(time.time()) // 60 + 1) * 60
        wait_until(lambda: time.time() > next_minute + 1, 65, "a minute passes")
        lab.start_controller()
        second = _wait_run(world, "tick", 2)
        check(second["outcome"] == "made", f"the second: {second}")
        check(world.succeed(second["jobName"])["number"] != job["number"], "another job")
        wait_until(lambda: world.lab.cli("job", "show", *world.at(first["jobName"])).rc == 3, 20, "the older one is deleted")
        check(os.path.exists(os.path.join(world.share, "logs", job["jobOutputDirectoryPathSegment"])), "its files to stay")
        check(_schedule(world, "tick")["counts"]["made"] == 2, "two were made")


def made_up_for_once():
    """Ten times passed unseen: one job is made up for, nine are missed; started again and again, it stays one."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        _create(world, "hourly", cron="0 * * * *").ok()
        _asleep(world, "hourly", 600)
        run = _wait_run(world, "hourly", 1)
        world.wait_for(run["jobName"], "running")
        counts = _schedule(world, "hourly")["counts"]
        check((counts["made"], counts["missed"]) == (1, 9) or (counts["made"], counts["missed"]) == (1, 10), f"counts: {counts}")
        for _ in range(3):
            lab.kill_controller()
            lab.start_controller()
        check(_jobs(world) == [(run["jobName"], "hourly", "running")], f"one job: {_jobs(world)}")
        world.touch("go")
        world.succeed(run["jobName"])
        check(_schedule(world, "hourly")["counts"]["made"] == 1, "it was made once")


def overlap_suspend_and_errors():
    """Skipped while a job goes on, with why; suspended nothing comes; refused it says why and goes on; deleted its jobs stay."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        _create(world, "s", cron="30 * * * *").ok()
        _asleep(world, "s", 60)
        first = _wait_run(world, "s", 1)["jobName"]
        world.wait_for(first, "running")
        _asleep(world, "s", 60)
        skipped = _wait_run(world, "s", 2)
        check(skipped["outcome"] == "skipped" and skipped["why"] == f"job {first} has not ended", f"skipped: {skipped}")
        world.touch("go")
        world.succeed(first)

        shown = lab.cli("job", "schedule", "suspend", *world.at("s"), "--why", "new data", "-o", "json").json()
        check(shown["suspended"]["why"] == "new data" and shown["nextTimes"] == [], f"suspended: {shown}")
        check("until `trainyard job schedule resume`" in shown["reason"], f"it says until when: {shown}")
        lab.kill_controller()
        lab.start_controller()
        check(_schedule(world, "s")["suspended"]["why"] == "new data", "still suspended")
        lab.cli("job", "schedule", "resume", *world.at("s")).ok()
        check(len(_schedule(world, "s")["nextTimes"]) == 3, "it goes on")

        changed = lab.cli("job", "schedule", "update", *world.at("s"), "--cron", "30 6 * * *", "--utc-offset=-03:00", "-o", "json").json()
        check(changed["nextTimes"][0][11:16] == "09:30" and changed["keep"] == 10, f"changed: {changed}")
        lab.cli("job", "schedule", "update", *world.at("s"), "--cron", "0 * * * *", "--utc-offset", "").ok()
        lab.cli("cluster", "delete", "-g", "g", "-w", "w", "-n", "c", "-y").ok()
        _asleep(world, "s", 60)
        refused = _wait_run(world, "s", 3)
        check(refused["outcome"] == "refused" and "cluster c is not in workspace w" in refused["why"], f"refused: {refused}")
        check("cluster c is not in workspace w" in _schedule(world, "s")["lastError"], "its last error")
        table = lab.cli("job", "schedule", "show", *world.at("s"), "-o", "table").ok()
        check([line.split()[0] for line in table.split("\n")[2:-1]] == ["schedule", "cron", "overlap", "keep", "state", "counts", "made", "skipped", "refused", "next", "next", "next"],
              f"the table:\n{table}")
        listed = lab.cli("job", "schedule", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "table").ok()
        check("0 * * * * UTC" in listed and "cluster c is not in" in listed, f"the list:\n{listed}")

        lab.cli("job", "schedule", "delete", *world.at("s"), "-y").ok()
        gone = lab.cli("job", "schedule", "show", *world.at("s"))
        check(gone.rc == 3 and "job schedule s is not in experiment x" in gone.err, f"gone: {gone.err}")
        check(_jobs(world) == [(first, None, "succeeded")], f"its job stays: {_jobs(world)}")


def said_at_once():
    """What is wrong is said when it is created; the same again is the same one."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        for flags, message in [(("0 3 * *",), "cron: has 4 fields"), (("0 25 * * *",), "cron: hour: 25 is not from 0 to 23"),
                               (("0 0 30 2 *",), "never comes"), (("@daily", "--utc-offset", "CET"), "utcOffset: must be like"),
                               (("@daily", "--keep", 100000), "keep: must be at most 10000")]:
            wrong = _create(world, "s", *flags[1:], cron=flags[0])
            check(wrong.rc == 1 and message in wrong.err, f"{message}: {wrong.err}")
        check(_create(world, "x" * 47).rc == 1, "a name that is too long to be refused")
        first = _create(world, "s", "--suspended", "--why", "soon", cron="@daily").json()
        check(first["suspended"]["why"] == "soon", f"suspended: {first}")
        check(_create(world, "s", cron="@daily").json()["number"] == first["number"], "the same one")
        check(_create(world, "s", cron="@weekly").rc == 1, "another definition to be refused")
        help_text = lab.cli("job", "schedule", "create", "--help").ok()
        check('--cron "0 3 * * *" --utc-offset +02:00' in help_text, f"an example: {help_text}")


if __name__ == "__main__":
    main(globals())
