#!/usr/bin/python3
"""The job kinds beside the tutorial's: custom, customMpi with a real trainer; preparation, variables, list, wait, delete."""
import json
import shutil

from e2e import CHECKOUT, SHARE, Lab, World, build_directory, check, main, os, wait_for_go


def custom():
    with Lab(nodes=2, gpus=3) as lab:
        world = World(lab)
        world.submit("j", nodes=2, command="echo $(hostname) $GREETING; env | grep ^AZ_BATCH | sort; exit 3",
                     variables={"GREETING": "hello $AZ_BATCHAI_NUM_GPUS"}, preparation=f"echo prepared $(hostname); touch {SHARE}/prep.$(hostname)")
        job = world.wait_end("j")
        check(job["executionState"] == "failed" and job["executionInfo"]["exitCode"] == 3, f"exit code 3: {job['executionInfo']}")
        out = world.output("j")
        check(out.startswith(f"{job['nodes'][0]} hello 3\n"), f"once, on the first node, with the variable: {out[:60]}")
        for name in ("MOUNT_ROOT", "JOB_MOUNT_ROOT", "JOB_TEMP", "JOB_TEMP_DIR", "STDOUTERR_DIR", "MPI_HOST_FILE", "NUM_GPUS"):
            check(f"AZ_BATCHAI_{name}=" in out, f"AZ_BATCHAI_{name} to be set:\n{out}")
        for node in lab.nodes:
            check(os.path.exists(os.path.join(world.share, f"prep.{node}")), f"preparation on {node}")
            check(world.output("j", f"stdout-job_prep-{node}.txt") == f"prepared {node}\n", "its output")
        waited = lab.cli("job", "wait", *world.at("j"))
        check(waited.rc == 3, f"job wait to exit as the job did: {waited.rc}")


def custom_mpi():
    """The C++ trainer, sent to the share with its data, by the example's job file (mpi_trainer reads the digits)."""
    trainer = os.path.join(build_directory(), "bin", "mpi_trainer")
    with Lab(nodes=4) as lab:
        world = World(lab)
        for folder, file in (("bin", trainer), ("data", os.path.join(CHECKOUT, "examples", "data", "digits.csv"))):
            # The share is reached through the product only, from the controller's host.
            local = shutil.copy(file, lab.root)
            lab.cli("storage", "directory", "create", "-n", folder, "--share-name", "s", "--account-name", "a").ok()
            lab.cli("storage", "file", "upload", "--path", folder, "--share-name", "s", "--account-name", "a", "--source", local).ok()
        text = open(os.path.join(CHECKOUT, "examples", "jobs", "custom_mpi.json")).read().replace("myshare", "s")
        world.create("j", text, "--storage-account-name", "a").ok()
        world.succeed("j")
        out = world.output("j")
        check("4 ranks" in out and "Test accuracy: 0.9" in out, f"a training: {out[-200:]}")


def rank_logs():
    """What each rank wrote has a file of its own beside stdout.txt, also with an uneven number and when a rank fails."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        for name, ranks in (("uneven", 3), ("twelve", 12)):
            # One fails, when all have said something: mpirun ends the others then.
            command = (f"echo rank $OMPI_COMM_WORLD_RANK on $TRAINYARD_NODE; touch {SHARE}/{name}.$OMPI_COMM_WORLD_RANK; [ $OMPI_COMM_WORLD_RANK = 1 ] || exit 0; "
                       f"until [ $(ls {SHARE} | grep -c '^{name}[.]') = {ranks} ]; do sleep 0.05; done; echo one complains >&2; exit 4")
            world.submit(name, nodes=2, mpi=True, processes=ranks, command=command)
            job = world.wait_end(name)
            check(job["executionInfo"]["exitCode"] == 4, f"the failing rank's exit code: {job['executionInfo']}")
            merged = world.output(name)
            listed = lab.cli("job", "file", "list", "-g", "g", "-w", "w", "-e", "x", "-j", name, "--path", "ranks", "-o", "json").json()
            check({f["name"] for f in listed} == {f"stdout-{r}.txt" for r in range(ranks)} | {"stderr-1.txt"},
                  f"a file per rank that wrote something: {[f['name'] for f in listed]}")
            for rank in range(ranks):
                own = world.output(name, f"ranks/stdout-{rank}.txt").replace("\r", "")
                check(own.startswith(f"rank {rank} on node") and own.count("\n") == 1, f"rank {rank}'s own line: {own!r}")
                check(own.strip() in merged, f"and the same in stdout.txt: {merged}")
            check("one complains" in world.output(name, "ranks/stderr-1.txt"), "what rank 1 complained of")


def horovod():
    """The example's horovod job: two nodes, four processes, its model in the output directory."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        for folder, file in (("digits", "cifar_cnn_distributed.py"), ("data", "data/digits.csv")):
            local = shutil.copy(os.path.join(CHECKOUT, "examples", file), lab.root)
            lab.cli("storage", "directory", "create", "-n", folder, "--share-name", "s", "--account-name", "a").ok()
            lab.cli("storage", "file", "upload", "--path", folder, "--share-name", "s", "--account-name", "a", "--source", local).ok()
        text = open(os.path.join(CHECKOUT, "examples", "jobs", "horovod.json")).read().replace("myshare", "s")
        world.create("j", text, "--storage-account-name", "a").ok()
        job = world.succeed("j")
        check("4 workers" in world.output("j"), f"four workers: {world.output('j')[:80]}")
        model = os.path.join(world.share, "digits", job["jobOutputDirectoryPathSegment"], "outputs", "model", "saved_models",
                             "keras_cifar10_trained_model.h5")
        check(os.path.getsize(model) > 10000, "the model in the output directory")
        listed = lab.cli("job", "file", "list", "-g", "g", "-w", "w", "-e", "x", "-j", "j", "-d", "MODEL", "-o", "json").json()
        check([f["name"] for f in listed] == ["saved_models"], f"the output directory listed: {listed}")


def two_jobs_side_by_side():
    """Whole nodes, never shared: two 2-node jobs run at once, a third waits."""
    with Lab(nodes=4) as lab:
        world = World(lab)
        for name in ("a", "b", "d"):
            world.submit(name, nodes=2, mpi=True, command=wait_for_go(started=name))
        for name in ("a", "b"):
            world.wait_file(f"{name}.1")
        check(world.state("d") == "queued", "the third to wait")
        check(not set(world.job("a")["nodes"]) & set(world.job("b")["nodes"]), "no node shared")
        world.touch("go")
        for name in ("a", "b", "d"):
            world.succeed(name)


def delete_and_list():
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("running", command=wait_for_go())
        world.submit("queued", command="true")
        world.wait_file("started.0")
        lab.cli("job", "delete", *world.at("queued"), "-y").ok()
        lab.cli("job", "delete", *world.at("running")).failed("-y")
        lab.cli("job", "delete", *world.at("running"), "-y").ok()
        check(json.loads(lab.cli("job", "list", "-g", "g", "-w", "w", "-e", "x", "-o", "json").ok()) == [], "no job left")
        check(not world.job_pids("node1"), "nothing left on the node")
        world.wait_idle(1)


def mounts_by_flags():
    """A share and a container (a share of the account, too) that only the command line names."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        lab.cli("storage", "share", "create", "-n", "c2", "--account-name", "a").ok()
        body = {"properties": {"nodeCount": 1, "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs",
                               "customToolkitSettings": {"commandLine": "echo there > $AZ_BATCHAI_JOB_MOUNT_ROOT/models/m"}}}
        world.create("none", body, "--afs-name", "s").failed("--storage-account-name")
        answer = world.create("j", body, "--storage-account-name", "a", "--storage-account-key", "k3y", "--afs-name", "s", "--bfs-name", "c2",
                              "--bfs-mount-path", "models")
        check("k3y" not in answer.ok() + answer.err, f"answers without the key: {answer.out}{answer.err}")
        world.succeed("j")
        with open(os.path.join(lab.storage, "a", "c2", "m")) as file:
            check(file.read() == "there\n", "the container's file")
        check(os.path.isdir(os.path.join(world.share, "trainyard")), "the logs are on the share of --afs-name")


if __name__ == "__main__":
    main(globals())
