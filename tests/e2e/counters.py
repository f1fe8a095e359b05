#!/usr/bin/python3
"""How busy nodes are, as series: measured by the real agents, kept by the real controller, seen through the command line.

Pretend hosts share the machine's processors and memory, and have a network of their own: by that a job's node is told from the
others. Their GPUs are a stand-in's for the driver's library."""
import os
import re

from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

EVERY_SECOND = {"counters_every_ms": 1000}
BUSY = 2_000_000  # bytes a second: more than reports and counters are, by far
# Sends to a port where nobody listens, until `go` is on the share; one processor is busy with it, too.
SENDER = ("/usr/bin/python3 -c \"import os, socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b = bytes(8000)\n"
          "while not os.path.exists(sys.argv[2] + '/go'): [s.sendto(b, (sys.argv[1], 9)) for _ in range(200)]\" ")


def _series(lab, node, *more):
    found = lab.cli("node", "counters", "-n", node, *more, "-o", "json").json()
    check(found["node"] == node, f"the node that was asked for: {found['node']}")
    times = [sample["time"] for sample in found["samples"]]
    check(times == sorted(set(times)), f"samples in the order of their times: {times}")
    return found["samples"]


def _newest(lab, node):
    samples = _series(lab, node)
    return samples[-1] if samples else None


def _wait_samples(lab, count=1, deadline_s=30):
    wait_until(lambda: all(len(_series(lab, node)) >= count for node in lab.nodes), deadline_s, f"{count} samples of every node", 0.2)


def a_busy_node_is_told_from_the_others():
    with Lab(nodes=3, agent=EVERY_SECOND) as lab:
        world = World(lab)
        _wait_samples(lab)
        target = lab.network.hosts["head"].address
        world.submit("j", command=f"touch {SHARE}/started.0; {SENDER} {target} {SHARE}")
        world.wait_file("started.0")
        busy = world.wait_for("j", "running")["nodes"][0]
        wait_until(lambda: _newest(lab, busy)["networkSentBytesPerSecond"] > BUSY, 30, f"{busy} is seen sending", 0.2)
        for node in lab.nodes:
            sample = _newest(lab, node)
            check((sample["networkSentBytesPerSecond"] > BUSY) == (node == busy), f"only {busy} to be busy: {node} {sample}")
            check(sample["networkReceivedBytesPerSecond"] < BUSY, f"nobody to receive much: {node} {sample}")
            check(0 < sample["cpuPercent"] <= 100, f"a busy processor: {sample}")
            check(sample["memoryTotalBytes"] == _memory_total(), f"this machine's memory: {sample}")
            check(0 < sample["memoryUsedBytes"] < sample["memoryTotalBytes"], f"used memory: {sample}")
            check(sample["gpus"] == [], f"no counters of pretend GPUs: {sample}")
        table = lab.cli("cluster", "counters", "-g", "g", "-w", "w", "-n", "c", "-o", "table").ok()
        rows = {line.split()[0]: line for line in table.splitlines()[2:]}
        check(sorted(rows) == lab.nodes, f"a row per node: {table}")
        check(all(re.search(r"\d+\.\d MiB/s", rows[node]) if node == busy else not re.search("MiB/s", rows[node]) for node in lab.nodes),
              f"{busy} busy in the table: {table}")
        every = lab.cli("cluster", "counters", "-g", "g", "-w", "w", "-n", "c", "-o", "json").json()
        check([each["node"] for each in every] == lab.nodes and all(each["samples"] for each in every), f"every node's series: {every}")
        world.touch("go")
        world.succeed("j")
        wait_until(lambda: _newest(lab, busy)["networkSentBytesPerSecond"] < BUSY, 30, f"{busy} is seen idle", 0.2)
        check(any(sample["networkSentBytesPerSecond"] > BUSY for sample in _series(lab, busy)), "its past to be kept")


def _memory_total():
    with open("/proc/meminfo") as file:
        return int(file.readline().split()[1]) * 1024


def gpus_are_seen_by_uuid():
    gpus = {"node1": [("GPU-11", "Tesla-T4", 15360, 1024, 37, 45500, 61), ("GPU-12", "Tesla-T4", 15360, 0, None, 9100, None)],
            "node2": [("GPU-21", "Tesla-T4", 15360, 2048, 99, 70000, 80)]}
    with Lab(nodes=3, gpus=0, agent=EVERY_SECOND, nvml_gpus=gpus) as lab:
        World(lab)
        wait_until(lambda: (_newest(lab, "node1") or {"gpus": []})["gpus"], 30, "a sample with GPUs", 0.2)
        check(_newest(lab, "node1")["gpus"] == [
            {"uuid": "GPU-11", "utilizationPercent": 37, "memoryUsedBytes": 1 << 30, "powerWatts": 45.5, "temperatureCelsius": 61},
            {"uuid": "GPU-12", "utilizationPercent": None, "memoryUsedBytes": 0, "powerWatts": 9.1, "temperatureCelsius": None}],
            f"both GPUs, and null where the driver tells nothing: {_newest(lab, 'node1')}")
        lab.set_gpus("node2", [("GPU-21", "Tesla-T4", 15360, 512, 5, 30000, 50)])
        wait_until(lambda: (_newest(lab, "node2")["gpus"] or [{"utilizationPercent": 0}])[0]["utilizationPercent"] == 5, 30,
                   "the GPU's new values", 0.2)
        check(_newest(lab, "node3")["gpus"] == [], "no GPU where there is none")
        table = lab.cli("cluster", "counters", "-g", "g", "-w", "w", "-n", "c", "-o", "table").ok()
        check([line.split()[0] for line in table.splitlines()[2:]] == ["node1", "node1", "node2", "node3"], f"a row per GPU: {table}")
        shown = lab.cli("node", "show", "node1", "-o", "json").json()
        check([gpu["uuid"] for gpu in shown["counters"]["gpus"]] == ["GPU-11", "GPU-12"], f"the newest in node show: {shown}")
        check("37 %" in lab.cli("node", "show", "node1", "-o", "table").ok(), "and in its table")
        # A driver that hangs takes its values away, nothing else.
        hang = os.path.join(lab.network.hosts["node1"].folder, "gpus.hang")
        open(hang, "w").close()
        wait_until(lambda: _newest(lab, "node1")["gpus"] == [], 30, "samples without GPUs", 0.2)
        check(lab.node("node1")["reachable"], "the agent to go on")
        os.remove(hang)
        wait_until(lambda: _newest(lab, "node1")["gpus"], 30, "GPUs again", 0.2)


def a_job_has_series_of_its_own():
    """Two jobs on one node, a GPU each: each sees its own processor time and its own GPU, also when it has ended."""
    gpus = {"node1": [("GPU-11", "Tesla-T4", 15360, 1024, 37, 45500, 61), ("GPU-12", "Tesla-T4", 15360, 0, 5, 9100, 40)]}
    with Lab(nodes=1, gpus=0, agent=EVERY_SECOND, nvml_gpus=gpus) as lab:
        world = World(lab)
        part = {"resources": {"nodes": 1, "gpusPerNode": 1}, "nodeCount": None}
        world.submit("busy", command=f"until [ -e {SHARE}/go ]; do :; done", **part)
        world.submit("idle", command=wait_for_go(), **part)
        for name in ("busy", "idle"):
            world.wait_for(name, "running")

        def series(name):
            return lab.cli("job", "counters", *world.at(name), "-o", "json").json()

        def newest(name):
            found = series(name)
            return found[0]["samples"][-1] if found else {"cpuPercent": 0, "gpus": []}

        def told_apart():
            busy, idle = newest("busy"), newest("idle")
            # Of two cores that others use, too.
            return busy["gpus"] and idle["gpus"] and busy["cpuPercent"] > 2 and idle["cpuPercent"] < busy["cpuPercent"] / 2

        wait_until(told_apart, 60, "the busy one to be told from the idle one", 0.2)
        seen = {name: [gpu["uuid"] for gpu in newest(name)["gpus"]] for name in ("busy", "idle")}
        check(sorted(sum(seen.values(), [])) == ["GPU-11", "GPU-12"], f"a GPU each: {seen}")
        check(newest("busy")["memoryUsedBytes"] > 0, f"its memory: {newest('busy')}")
        # A new agent counts from where it begins: one thread is never all processors, whatever it used before.
        before = newest("busy")["time"]
        lab.kill_agent("node1")
        lab.start_agent("node1")
        wait_until(lambda: newest("busy")["time"] > before, 30, "a sample of the new agent", 0.2)
        most = max(sample["cpuPercent"] for sample in series("busy")[0]["samples"])
        check(os.cpu_count() == 1 or most < 90, f"of {os.cpu_count()} processors one thread had {most} %")
        world.touch("go")
        for name in ("busy", "idle"):
            world.succeed(name)
        world.wait_idle(1)
        ended = series("busy")
        check([(each["node"], each["attempt"]) for each in ended] == [("node1", 1)] and ended[0]["samples"], f"what has ended: {ended}")
        check("node1" in lab.cli("job", "counters", *world.at("busy"), "--step", "1h", "-o", "table").ok(), "a table")
        lab.cli("job", "counters", *world.at("none")).failed("job none is not in experiment")


def series_go_on_after_restarts():
    with Lab(nodes=2, agent=EVERY_SECOND) as lab:
        _wait_samples(lab, 3)
        before = {node: _series(lab, node) for node in lab.nodes}
        lab.kill_controller()
        lab.start_controller()
        lab.wait_reachable(2)
        wait_until(lambda: all(_newest(lab, node)["time"] > before[node][-1]["time"] for node in lab.nodes), 30, "new samples", 0.2)
        for node in lab.nodes:
            after = _series(lab, node)
            check(after[:len(before[node])] == before[node], f"what was there to be there still: {before[node]} {after}")
        # A damaged file costs the past, not the controller.
        lab.kill_controller()
        path = os.path.join(lab.state_dir, "counters.db")
        for log in ("-wal", "-shm"):
            os.remove(path + log)
        with open(path, "wb") as file:
            file.write(os.urandom(10_000))
        lab.start_controller()
        lab.wait_reachable(2)
        _wait_samples(lab)
        check(os.path.exists(path + ".damaged"), "the damaged file beside the new one")
        check("counters.db is damaged" in lab.log_of("head"), "a warning in the log")
        times = [sample["time"] for sample in _series(lab, "node1")]
        check(times[0] > before["node1"][-1]["time"], f"only new samples: {times}")


def what_is_asked_for_is_checked():
    with Lab(nodes=1, agent=EVERY_SECOND) as lab:
        _wait_samples(lab, 4)

        def ask(*flags):
            return lab.cli("node", "counters", "node1", *flags)

        check(len(_series(lab, "node1", "--from", "-2h", "--step", "1h")) == 1, "one average over all of it")
        check(len(_series(lab, "node1", "--from", "-1h", "--to", "-30m")) == 0, "nothing of before it was there")
        check(len(_series(lab, "node1", "--from", "2018-06-01T00:00:00Z")) >= 4, "an absolute time")
        check(ask("--from", "-1h", "-o", "table").ok().split("\n")[0].startswith("Time"), "a table")
        check(lab.cli("node", "counters", "--help").ok().count("--from") >= 2, "an example in the help")
        ask("--from", "-1h", "--to", "-2h").failed("from", "before")
        ask("--from", "yesterday").failed("--from", "2018-06-01T12:00:00Z")
        ask("--step", "0m").failed("--step", "5m")
        lab.cli("node", "counters", "-n", "none").failed("node none does not exist")
        lab.cli("cluster", "counters", "-g", "g", "-w", "w", "-n", "none").failed("g does not exist")


if __name__ == "__main__":
    main(globals())
