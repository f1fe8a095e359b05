#!/usr/bin/python3
"""Accounting with the real programs: `trainyard usage` as a table, JSON and CSV, by day, from a time to another. What it says is
held against the jobs' timelines, to the millisecond."""
import csv
import io
import os
from datetime import datetime, timezone

from e2e import Lab, World, check, main, wait_for_go, wait_until

CAUSES = ["preparing", "running", "idle", "lost", "requeued", "stopping"]


def _ms(seconds):
    return round(seconds * 1000)


def _causes(row):
    """A row's milliseconds by cause; their sum is its total."""
    causes = {cause: _ms(row[cause]) for cause in CAUSES}
    check(sum(causes.values()) == _ms(row["total"]), f"the causes to sum up: {row}")
    return causes


def _report(lab, *flags):
    report = lab.cli("usage", *flags, "-o", "json").json()
    check(report["unit"] == "GPU-seconds", "exact seconds")
    total = _causes(report["total"])
    rows = [_causes(row) for row in report["rows"]]
    check(all(sum(row[cause] for row in rows) == total[cause] for cause in CAUSES), f"rows that sum up to the total: {report}")
    return report


def _total(lab, *flags):
    return _ms(_report(lab, *flags)["total"]["total"])


def _moment(line):
    return _ms(datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp())


def _attempts(world, name):
    """When each attempt of the job was placed and when nothing of it was left, as its timeline says."""
    begun, spans = None, []
    for line in world.lab.cli("job", "timeline", *world.at(name), "-o", "json").json():
        if line["what"] == "queued -> preparing":
            begun = _moment(line)
        if line["what"].startswith("stopping -> "):
            spans.append((begun, _moment(line)))
    return spans


def _three_jobs(world):
    """One that succeeds, one that fails, one that is terminated; on a node each, of two GPUs."""
    world.submit("good", command=wait_for_go("go", "good"))
    world.wait_file("good.0")
    growing = _total(world.lab)
    wait_until(lambda: _total(world.lab) > growing, 10, "a running job's time grows", 0.05)
    check(_report(world.lab, "--by", "job")["rows"][0]["name"] == "g/w/x/good", "the running job")
    world.submit("bad", command="exit 3")
    world.wait_end("bad")
    world.touch("go")
    world.succeed("good")
    world.submit("cut", command=wait_for_go("never", "cut"))
    world.wait_file("cut.0")
    world.terminate("cut").ok()
    world.wait_end("cut")
    world.wait_idle(2)


def tables_csv_days_and_times():
    with Lab(nodes=2, gpus=2) as lab:
        world = World(lab)
        _three_jobs(world)
        spans = {name: _attempts(world, name) for name in ("good", "bad", "cut")}
        by_job = {row["name"].split("/")[-1]: _causes(row) for row in _report(lab, "--by", "job")["rows"]}
        check(sorted(by_job) == ["bad", "cut", "good"], f"a row per job: {by_job}")
        for name, causes in by_job.items():
            allocated = 2 * sum(end - begin for begin, end in spans[name])
            check(sum(causes.values()) == allocated, f"{name}: two GPUs from its placement to its end, {allocated}: {causes}")
            check(causes["running"] > 0 and causes["lost"] == causes["requeued"] == causes["idle"] == 0, f"{name} ran: {causes}")
        everything = _total(lab)
        for by in ("job", "user", "workspace", "node", "cluster"):
            check(_total(lab, "--by", by) == everything, f"the same by {by}")
        check([row["name"] for row in _report(lab, "--by", "cluster")["rows"]] == ["g/w/c"], "the cluster")
        check(_total(lab, "-g", "G", "-w", "w") == everything and _total(lab, "-g", "g", "-w", "other") == 0, "of a workspace")

        # Times cut, and what they cut sums up. The command line's times are whole seconds.
        cut = spans["bad"][0][0] // 1000
        moment = datetime.fromtimestamp(cut, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        before, after = _total(lab, "--to", moment), _total(lab, "--from", moment)
        expected = 2 * sum(min(end, cut * 1000) - min(begin, cut * 1000) for each in spans.values() for begin, end in each)
        check(before == expected and before + after == everything, f"{before} until {moment} and {after} after it are {everything}")
        days = _report(lab, "--day")
        check(_ms(days["total"]["total"]) == everything, "days sum up")
        check(days["rows"][0]["day"] == datetime.fromtimestamp(spans["good"][0][0] / 1000, timezone.utc).strftime("%Y-%m-%d"), f"a day: {days}")

        table = lab.cli("usage", "--by", "job", "-o", "table").ok()
        print(table)
        check(table.splitlines()[0].split()[:4] == ["Job", "Preparing", "Running", "Idle"], f"a table: {table}")
        check(table.splitlines()[-1].startswith("total ") and table.splitlines()[-1].endswith("100.0"), f"with the total: {table}")
        text = lab.cli("usage", "--by", "job", "--day", "-o", "csv").ok()
        print(text)
        rows = list(csv.DictReader(io.StringIO(text)))
        check(sum(_ms(float(row["total"])) for row in rows) == everything, f"CSV with exact seconds: {text}")
        check({row["name"] for row in rows} == {f"g/w/x/{name}" for name in by_job}, "the same jobs")

        # The same history is a trace, which the simulator replays.
        trace = lab.cli("simulate", "export", "-g", "g", "-w", "w").ok()
        rows = list(csv.DictReader(io.StringIO(trace)))
        check([(row["nodes"], row["gpus_per_node"]) for row in rows] == [("1", "0")] * 3, f"three jobs on a whole node each: {trace}")
        path = os.path.join(lab.root, "history.csv")
        with open(path, "w") as file:
            file.write(trace)
        replay = lab.cli("simulate", "--trace", path, "--nodes", "2", "--gpus-per-node", "2", "-o", "json").json()
        [scenario] = replay["scenarios"]
        check((replay["jobs"], scenario["ended"], scenario["requeues"]) == (3, 3, 0), f"three jobs that end: {replay}")

        # Deleted jobs, workspaces and a new life of the controller change nothing of it.
        for name in by_job:
            lab.cli("job", "delete", *world.at(name), "-y").ok()
        lab.kill_controller()
        lab.start_controller()
        check(_total(lab, "--by", "user") == everything, "the same for ever")


def what_was_lost():
    """A node dies under a job, which runs again on the others; later it is drained away. By cause, attempt by attempt."""
    with Lab(nodes=3) as lab:
        world = World(lab)
        world.submit("j", nodes=1, command=wait_for_go(), recovery={"lease": "PT8S"})
        world.wait_file("started.0")
        first = world.wait_for("j", "running")["nodes"][0]
        lab.crash(first)
        wait_until(lambda: world.job("j")["attempt"] == 2 and world.job("j")["phase"] == "running", 60, "the second attempt", 0.1)
        second = world.job("j")["nodes"][0]
        lab.kill_controller()
        lab.start_controller()
        lab.cli("node", "drain", second, "--reason", "a fan", "--requeue").ok()
        wait_until(lambda: world.job("j")["attempt"] == 3 and world.job("j")["phase"] == "running", 60, "the third attempt", 0.1)
        third = world.job("j")["nodes"][0]
        world.touch("go")
        world.succeed("j")
        by_node = {row["name"]: _causes(row) for row in _report(lab, "--by", "node")["rows"]}
        check(set(by_node) == {first, second, third}, f"three nodes: {by_node}")
        check(by_node[first]["lost"] > 0 and by_node[first]["stopping"] > 0, f"what ran on the dead node is lost, until its fence: {by_node}")
        check(by_node[second]["requeued"] > 0 and by_node[second]["lost"] == 0, f"what ran on the drained one is requeued: {by_node}")
        check(by_node[third]["running"] > 0, f"the third attempt ran: {by_node}")
        check(all(causes["running"] == 0 for name, causes in by_node.items() if name != third), f"and no other did: {by_node}")
        allocated = sum(end - begin for begin, end in _attempts(world, "j"))
        check(_total(lab) == allocated, f"the sum of three attempts, {allocated}")
        print(lab.cli("usage", "--by", "node", "-o", "table").ok())


def idle_gpus():
    """Counters say how busy GPUs were: those of a sleeping job are idle."""
    gpus = {"node1": [("GPU-a", "T", 1024, 0, 0, 0, 0), ("GPU-b", "T", 1024, 0, 0, 0, 0)]}
    with Lab(nodes=1, gpus=0, nvml_gpus=gpus, agent={"counters_every_ms": 1000}) as lab:
        world = World(lab)
        world.submit("sleepy", command=wait_for_go())
        world.wait_file("started.0")
        wait_until(lambda: _report(lab)["total"]["idle"] > 1, 30, "idle time is seen", 0.2)
        world.touch("go")
        world.succeed("sleepy")
        report = _report(lab, "--by", "job")
        check(report["sampled"] >= report["total"]["idle"] > 1, f"how much is known: {report}")
        print(lab.cli("usage", "--by", "job", "-o", "table").ok())


def what_is_wrong_is_named():
    with Lab(nodes=1) as lab:
        lab.cli("usage", "--by", "colour").failed("colour")
        lab.cli("usage", "--from", "yesterday").failed("--from")
        lab.cli("usage", "--from", "-1h", "--to", "-2h").failed("from", "before")
        lab.cli("usage", "-w", "w").failed("workspace", "resource_group")
        check(lab.cli("usage", "-o", "csv").ok().strip() == "name,preparing,running,idle,lost,requeued,stopping,total", "no rows, but names")


if __name__ == "__main__":
    main(globals())
