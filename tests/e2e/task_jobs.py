#!/usr/bin/python3
"""Jobs whose processes Trainyard starts itself, by the example's job files: each trains, each process has its files; what is
said when a rank fails; restarts and lost nodes."""
import json
import subprocess

from e2e import CHECKOUT, SHARE, Lab, World, check, main, os, wait_until

PYTHON = "/usr/bin/python3"


def _upload(world, *files):
    """The example's scripts and data, by hand into the directory behind the share."""
    for folder in ("digits", "data"):
        os.makedirs(os.path.join(world.share, folder), exist_ok=True)
    for file in files:
        folder = "data" if file.endswith(".csv") else "digits"
        name = os.path.join(CHECKOUT, "examples", "data" if folder == "data" else "", file)
        with open(name) as source, open(os.path.join(world.share, folder, file), "w") as target:
            target.write(source.read())


def _example(world, name):
    with open(os.path.join(CHECKOUT, "examples", "jobs", f"{name}.json")) as file:
        world.create(name, file.read().replace("myshare", "s"), "--storage-account-name", "a").ok()


def _script(world, name, text):
    """A Python script on the share; answers its path as a job sees it."""
    os.makedirs(world.share, exist_ok=True)
    with open(os.path.join(world.share, name), "w") as file:
        file.write(text)
    return f"{SHARE}/{name}"


def _files(world, name):
    segment = world.job(name)["jobOutputDirectoryPathSegment"]
    return sorted(os.listdir(os.path.join(world.share, "logs", segment, "stdouterr")))


def examples():
    """Four toolkits without MPI over four hosts, and chainer with it, each to its right output files."""
    with Lab(nodes=4) as lab:
        world = World(lab)
        _upload(world, "tcp_trainer.py", "ps_trainer.py", "cifar_cnn_distributed.py", "digits.csv")
        for name in ("pytorch", "tensorflow", "caffe2", "torchrun", "jax", "chainer"):
            _example(world, name)
        for name, ranks in (("pytorch", 4), ("torchrun", 4), ("caffe2", 2), ("jax", 2)):
            job = world.succeed(name, 120)
            outputs = [f for f in _files(world, name) if f.startswith("stdout")]
            check(outputs == [f"stdout-{r}.txt" for r in range(ranks)], f"one pair of files per process of {name}: {_files(world, name)}")
            for rank in range(ranks):
                out = world.output(name, f"stdout-{rank}.txt")
                check(f"worker {rank} of {ranks}" in out and "accuracy 0.9" in out, f"rank {rank} of {name} to have trained: {out}")
            check(job["executionInfo"]["exitCode"] == 0 and job["toolType"] == name, f"{name}: {job['executionInfo']}")
        job = world.succeed("tensorflow", 120)
        check([f for f in _files(world, "tensorflow") if f.startswith("std")] ==
              ["stderr-ps-0.txt", "stderr-wk-0.txt", "stderr-wk-1.txt", "stdout-ps-0.txt", "stdout-wk-0.txt", "stdout-wk-1.txt"],
              f"files by role: {_files(world, 'tensorflow')}")
        check("parameter server at" in world.output("tensorflow", "stdout-ps-0.txt"), "the parameter server's own output")
        check("1 parameter server(s)" in world.output("tensorflow", "stdout-wk-0.txt"), "the master's output")
        model = os.path.join(world.share, "digits", job["jobOutputDirectoryPathSegment"], "outputs", "model", "model.npy")
        check(os.path.getsize(model) > 1000, "the master's model in the output directory")
        world.succeed("chainer", 120)
        check("4 workers" in world.output("chainer"), f"chainer's ranks under mpirun: {world.output('chainer')[:80]}")
        shared = os.path.join(world.share, "logs", world.job("caffe2")["jobOutputDirectoryPathSegment"], "shared")
        check(not os.path.exists(shared), "the shared job temp to be gone with the job")
        for node in lab.nodes:
            check(not world.job_pids(node), f"no parameter server left on {node}")


def variables():
    """What a process of each role sees; what the preparation wrote into ~/.bashrc is seen by every rank on every node."""
    script = ("import json, os, sys\n"
              "print(json.dumps(dict(os.environ)), flush=True)\n"
              "open(os.path.join(os.environ['AZ_BATCHAI_SHARED_JOB_TEMP'], sys.argv[1] + os.environ['AZ_BATCHAI_TASK_INDEX']), 'w')\n"
              "if sys.argv[1] == 'ps':\n    import time\n    time.sleep(1e6)\n")
    with Lab(nodes=2, gpus=2) as lab:
        world = World(lab)
        path = _script(world, "env.py", script)
        settings = {"pythonScriptFilePath": path, "pythonInterpreterPath": PYTHON, "masterCommandLineArgs": "wk $UNDEFINED_$AZ_BATCHAI_NOBODY",
                    "workerCommandLineArgs": "wk", "parameterServerCommandLineArgs": "ps"}
        world.submit("tf", nodes=2, tensorFlowSettings=settings,
                     preparation="echo \"export FROM_PREPARATION='set on $(hostname)'\" >> ~/.bashrc")
        job = world.succeed("tf")
        seen = {name: json.loads(world.output("tf", f"stdout-{name}.txt")) for name in ("wk-0", "wk-1", "ps-0")}
        nodes = job["nodes"]
        for name, node in (("wk-0", nodes[0]), ("wk-1", nodes[1]), ("ps-0", nodes[0])):
            check(seen[name]["FROM_PREPARATION"] == f"set on {node}", f"{name} to see its node's ~/.bashrc: {seen[name].get('FROM_PREPARATION')}")
            check(seen[name]["AZ_BATCHAI_NUM_GPUS"] == "2", "the GPUs to be counted")
            check(seen[name]["AZ_BATCHAI_WORKER_HOSTS"] == seen["wk-0"]["AZ_BATCHAI_WORKER_HOSTS"], "the same lists for all")
            config = json.loads(seen[name]["TF_CONFIG"])
            hosts = seen[name]["AZ_BATCHAI_WORKER_HOSTS"].split(",")
            check(config["cluster"] == {"chief": hosts[:1], "worker": hosts[1:], "ps": seen[name]["AZ_BATCHAI_PS_HOSTS"].split(",")},
                  f"TF_CONFIG's cluster: {config}")
        check(json.loads(seen["wk-1"]["TF_CONFIG"])["task"] == {"type": "worker", "index": 0}, "worker 1 is TensorFlow's worker 0")
        check(seen["wk-1"]["AZ_BATCHAI_TASK_INDEX"] == "1", "and Batch AI's worker 1")
        check(seen["wk-0"]["AZ_BATCHAI_SHARED_JOB_TEMP"] == seen["wk-1"]["AZ_BATCHAI_SHARED_JOB_TEMP"], "one shared directory")
        check(not os.path.exists(os.path.expanduser("~/.bashrc.trainyard")) and "FROM_PREPARATION" not in _own_bashrc(), "the operator's own ~/.bashrc untouched")


def _own_bashrc():
    path = os.path.expanduser("~/.bashrc")
    return open(path).read() if os.path.exists(path) else ""


FAILING = """import os, sys, time
rank, out = int(os.environ["RANK"]), sys.argv[1]
open(f"{out}/up.{rank}", "w")
if rank != 2:
    time.sleep(1e6)
while not all(os.path.exists(f"{out}/up.{r}") for r in range(4)):
    time.sleep(0.02)
print("the data set is broken", file=sys.stderr, flush=True)
if sys.argv[2] == "signal":
    os.kill(os.getpid(), 11)
sys.exit(3)
"""


def first_failing_rank():
    """The rank that fails first is named with its node, code or signal and last lines; the others are ended."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        path = _script(world, "fail.py", FAILING)
        for how, code, detail in (("code", 3, ("exitCode", "3")), ("signal", 139, ("signal", "11 (SIGSEGV)"))):
            os.mkdir(os.path.join(world.share, how))
            world.submit(how, nodes=2, torchrunSettings={"pythonScriptFilePath": path, "pythonInterpreterPath": PYTHON, "processesPerNode": 2,
                                                         "commandLineArgs": f"{SHARE}/{how} {how}"})
            job = world.wait_end(how)
            check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == code, f"exit code {code}: {job['executionInfo']}")
            error = job["executionInfo"]["errors"][0]
            details = {d["name"]: d["value"] for d in error["details"]}
            check(error["code"] == "JobFailed" and f"rank 2 on node {job['nodes'][1]}" in error["message"], f"rank 2 named: {error}")
            check(details["rank"] == "2" and details["node"] == job["nodes"][1] and details[detail[0]] == detail[1], f"details: {details}")
            check(details["lastLines"] == "the data set is broken", f"its last lines: {details}")
            check(world.output(how, "stderr-2.txt") == "the data set is broken\n", "and its own file")
            check(lab.cli("job", "wait", *world.at(how)).rc == code, "job wait to exit as the rank did")
        world.wait_idle(2)
        for node in lab.nodes:
            check(not world.job_pids(node), f"no rank left on {node}")


def failing_mpi_rank():
    """A rank that fails while others are still being started is a case of its own: then mpirun does not always say who it was."""
    def all_started(prefix, ranks):
        return (f"touch {SHARE}/{prefix}.$OMPI_COMM_WORLD_RANK; while [ $(ls {SHARE}/{prefix}.* | wc -l) -lt {ranks} ]; do sleep 0.05; done; "
                f"while [ ! -e {SHARE}/{prefix}-go ]; do sleep 0.05; done; ")

    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("code", nodes=2, mpi=True, processes=4, command=all_started("code", 4) +
                     '[ $OMPI_COMM_WORLD_RANK = 3 ] || exec sleep 1000; echo "no such file" >&2; exit 5')
        for rank in range(4):
            world.wait_file(f"code.{rank}")
        world.wait_for("code", "running")
        world.touch("code-go")
        job = world.wait_end("code")
        error = job["executionInfo"]["errors"][0]
        details = {d["name"]: d["value"] for d in error["details"]}
        check(error["message"] == f"rank 3 on node {job['nodes'][1]} ended with exit code 5", f"mpirun's first rank: {error}")
        check(details["rank"] == "3" and "no such file" in details["lastLines"], f"details: {details}")
        world.submit("kill", nodes=2, mpi=True, command=all_started("kill", 2) + '[ $OMPI_COMM_WORLD_RANK = 1 ] || exec sleep 1000; kill -9 $$')
        for rank in range(2):
            world.wait_file(f"kill.{rank}")
        world.touch("kill-go")
        error = world.wait_end("kill")["executionInfo"]["errors"][0]
        check("rank 1" in error["message"] and "signal 9 (SIGKILL)" in error["message"], f"the signal: {error}")


def restarts_and_losses():
    """Agents and the controller are killed while tasks run: each task ran once. A node is lost: the job runs again, on other ports."""
    with Lab(nodes=3) as lab:
        world = World(lab, target=2)
        path = _script(world, "wait.py", "import os, sys, time\nout = sys.argv[1]\n"
                       "open(f\"{out}/starts.{os.environ['MASTER_PORT']}\", 'a').write(os.environ['RANK'] + '\\n')\n"
                       "while not os.path.exists(f'{out}/go'): time.sleep(0.02)\n")
        torch = {"pythonScriptFilePath": path, "pythonInterpreterPath": PYTHON, "processesPerNode": 2, "commandLineArgs": SHARE}
        world.submit("j", nodes=2, torchrunSettings=torch)

        def starts():
            return {f: sorted(world.read(f).split()) for f in os.listdir(world.share) if f.startswith("starts.")}

        wait_until(lambda: list(starts().values()) == [["0", "1", "2", "3"]], 30, "four ranks to start")
        for node in world.job("j")["nodes"]:
            lab.kill_agent(node)
        lab.kill_controller()
        lab.start_controller()
        for node in world.job("j")["nodes"]:
            lab.start_agent(node)
        world.wait_for("j", "running")
        first = world.job("j")["nodes"]
        check(list(starts().values()) == [["0", "1", "2", "3"]], f"no rank to start twice: {starts()}")
        lab.crash(first[1])
        lab.boot(first[1])
        wait_until(lambda: len(starts()) == 2 and all(v == ["0", "1", "2", "3"] for v in starts().values()), 60,
                   "the second attempt to start its ranks, at another port")
        world.touch("go")
        job = world.succeed("j")
        check(job["attempt"] == 2, f"attempt 2: {job['attempt']}")


def port_in_use():
    """Somebody listens at the attempt's port: infrastructure, said with the port; the job is queued again and gets others."""
    with Lab(nodes=1) as lab:
        world = World(lab, target=0)
        path = _script(world, "port.py", "import os\nprint(os.environ['MASTER_PORT'])\n")
        world.submit("j", torchrunSettings={"pythonScriptFilePath": path, "pythonInterpreterPath": PYTHON})
        port = 20000 + 256 * ((world.job("j")["number"] + 17) % 46)  # of the first attempt; decision 0010
        host = lab.network.hosts["node1"]
        listener = host.start([PYTHON, "-c", f"import socket, time; s = socket.create_server(('', {port})); print('up', flush=True); time.sleep(1e6)"],
                              stdout=subprocess.PIPE, text=True, env=lab.environment("node1"))
        check(listener.stdout.readline() == "up\n", "the listener")
        world.resize(1).ok()
        job = world.succeed("j")
        check(job["attempt"] == 2 and world.output("j", "stdout-0.txt") not in ("", f"{port}\n"), "the second attempt at another port")
        lines = lab.cli("job", "timeline", *world.at("j"), "-o", "json").ok()
        check(f"port {port} on node node1, which the job's processes would use, is in use by something else" in lines, f"said: {lines[-800:]}")


if __name__ == "__main__":
    main(globals())
