#!/usr/bin/python3
"""customMpi where a user's own mpirun is Hydra's (MPICH, Intel MPI): found by asking it. Debian's package mpich brings it; Open
MPI stays what `mpirun` is on the nodes."""
import shutil

from e2e import Lab, World, check, main, os


def ranks():
    program = shutil.which("mpiexec.hydra", path=os.defpath)
    check(program, "mpiexec.hydra of the package mpich to be here: deploy/install-packages")
    with Lab(nodes=3) as lab:
        world = World(lab)
        own = os.path.join(lab.root, "bin", "hydra")  # where jobs see it
        os.mkdir(own)
        shutil.copy(program, os.path.join(own, "mpirun"))
        shutil.copy(os.path.join(os.path.dirname(program), "hydra_pmi_proxy"), own)
        # As with Intel MPI: the preparation's ~/.bashrc brings it into PATH.
        at_home = f"echo 'export PATH={own}:$PATH' >> ~/.bashrc"
        world.submit("j", nodes=3, mpi=True, processes=6, preparation=at_home,
                     command='echo "$(hostname) has rank $PMI_RANK of $PMI_SIZE, node variable $TRAINYARD_NODE"')
        job = world.succeed("j")
        want = [f"{node} has rank {2 * n + r} of 6, node variable {node}" for n, node in enumerate(job["nodes"]) for r in (0, 1)]
        check(sorted(world.output("j").splitlines()) == sorted(want), f"two ranks per node with their node's variables: {world.output('j')}")
        # Of programs that never called MPI_Init, Hydra waits for all.
        world.submit("bad", nodes=3, mpi=True, preparation=at_home, command="[ $PMI_RANK = 1 ] && exit 3; true")
        failed = world.wait_end("bad")
        check(failed["executionState"] == "failed" and failed["executionInfo"]["exitCode"] == 3, f"exit code 3: {failed['executionInfo']}")
        world.wait_idle(3)
        for node in lab.nodes:
            check(not world.job_pids(node), f"no rank left on {node}")


if __name__ == "__main__":
    main(globals())
