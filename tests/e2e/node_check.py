#!/usr/bin/python3
"""trainyard node check: a job measures a cluster's nodes, the figures are kept per node, and one that is too slow is drained."""
import subprocess

from e2e import Lab, World, check, main, os

PLACE = ["-g", "g", "-w", "w", "-c", "c", "--share", "a/s"]


def _program(name):
    build = os.environ.get("TRAINYARD_BUILD_DIR") or os.path.join(os.path.dirname(__file__), "..", "..", "build", "release")
    return os.path.join(build, "bin", name)


def figures_are_kept_and_a_slow_node_is_drained():
    with Lab(nodes=2) as lab:
        World(lab)
        nodes = lab.cli("node", "check", *PLACE, "--cpu", "--min", "memoryGBps=0.01", "-o", "json").json()
        check(sorted(node["name"] for node in nodes) == ["node1", "node2"], f"both: {nodes}")
        for node in nodes:
            health = node["health"]
            check(health["passed"] and float(health["figures"]["memoryGBps"]) > 0.01 and float(health["figures"]["allReduceGBps"]) > 0, health)
            check(node["drain"] is None, node)
        lab.cli("node", "check", *PLACE, "--cpu", "--nodes", "1", "--min", "memoryGBps=100000").failed()
        drained = [node for node in lab.cli("node", "list", "-o", "json").json() if node["drain"]]
        check(len(drained) == 1, f"the node that was measured: {drained}")
        check("memoryGBps" in drained[0]["drain"]["why"] and "less than 100000" in drained[0]["drain"]["why"], drained[0]["drain"])
        check(not drained[0]["health"]["passed"], "and what was found is kept")
        lab.cli("node", "check", *PLACE, "--cpu", "--min", "memory").failed("memoryGBps=5")


def without_a_gpu_nobody_is_drained():
    gpu = _program("trainyard-check-gpu")
    if not os.path.exists(gpu):
        print("trainyard-check-gpu is not built here")
        return
    alone = subprocess.run([gpu], capture_output=True, text=True)
    check(alone.returncode == 4 and "no GPU here" in alone.stderr, f"says so, exits with 4: {alone}")
    with Lab(nodes=1) as lab:
        World(lab)
        lab.cli("node", "check", *PLACE).failed("did not measure its 1 node(s)", "no node is drained")
        check(lab.node("node1")["drain"] is None and lab.node("node1")["health"] is None, "a check that did not run says nothing of nodes")


if __name__ == "__main__":
    main(globals())
