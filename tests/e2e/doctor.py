#!/usr/bin/python3
"""`trainyard-agent doctor` on a host: what it finds is what is there, and it leaves nothing."""
import json

from e2e import Lab, check, main, os


def _doctor(lab, node, *more):
    argv = [os.path.join(lab.root, "bin", "trainyard-agent"), "doctor", "--config", os.path.join(lab.root, f"{node}.json"), *more]
    return lab.network.hosts[node].run(argv)


def on_a_host():
    with Lab(nodes=1) as lab:
        before = sorted(os.listdir(lab.network.hosts["node1"].folder))
        answer = _doctor(lab, "node1", "--json")
        checks = {one["check"]: one for one in json.loads(answer.stdout)}
        broken = [one for one in checks.values() if one["state"] == "broken"]
        check(answer.returncode == 0 and not broken, f"a host of the lab to be fit: {broken} {answer.stderr}")
        check(lab.network.hosts["node1"].address in checks["address"]["found"], f"the host's address: {checks['address']}")
        check(checks["run directory"]["state"] == "ok", f"/run in memory: {checks['run directory']}")
        check(checks["controller"]["found"].endswith("answers"), f"the controller: {checks['controller']}")
        lab.kill_controller()
        answer = _doctor(lab, "node1")
        check(answer.returncode == 1 and "BROKEN" in answer.stdout and "firewall" in answer.stdout, f"a controller that is gone: {answer.stdout}")
        check(sorted(os.listdir(lab.network.hosts["node1"].folder)) == before, "nothing left behind")
        check(not [g for g in os.listdir(lab.network.hosts["node1"].cgroup) if "doctor" in g], "no cgroup left behind")


if __name__ == "__main__":
    main(globals())
