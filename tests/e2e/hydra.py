#!/usr/bin/python3
"""customMpi where a user's own mpirun is Hydra's (MPICH, Intel MPI): found by asking it. Skipped where there is no Hydra; of
packages that are only unpacked, $TRAINYARD_HYDRA names the directory with mpiexec.hydra and $TRAINYARD_HYDRA_LIBRARIES its
libraries'."""
import shutil
import sys

from e2e import SKIPPED, Lab, World, check, main, os


def ranks():
    program = shutil.which("mpiexec.hydra", path=os.environ.get("TRAINYARD_HYDRA", os.defpath))
    if not program:
        print("skipped: mpiexec.hydra is not here (package mpich, or TRAINYARD_HYDRA)")
        sys.exit(SKIPPED)
    with Lab(nodes=3) as lab:
        world = World(lab)
        own = os.path.join(lab.root, "hydra")
        os.mkdir(own)
        shutil.copy(program, os.path.join(own, "mpirun"))
        shutil.copy(os.path.join(os.path.dirname(program), "hydra_pmi_proxy"), own)
        variables = {"LD_LIBRARY_PATH": os.environ.get("TRAINYARD_HYDRA_LIBRARIES", "")}
        # As with Intel MPI: the preparation's ~/.bashrc brings it into PATH.
        at_home = f"echo 'export PATH={own}:$PATH' >> ~/.bashrc"
        world.submit("j", nodes=3, mpi=True, processes=6, variables=variables, preparation=at_home,
                     command='echo "$(hostname) has rank $PMI_RANK of $PMI_SIZE, node variable $TRAINYARD_NODE"')
        job = world.succeed("j")
        want = [f"{node} has rank {2 * n + r} of 6, node variable {node}" for n, node in enumerate(job["nodes"]) for r in (0, 1)]
        check(sorted(world.output("j").splitlines()) == sorted(want), f"two ranks per node with their node's variables: {world.output('j')}")
        # Of programs that never called MPI_Init, Hydra waits for all.
        world.submit("bad", nodes=3, mpi=True, variables=variables, preparation=at_home, command="[ $PMI_RANK = 1 ] && exit 3; true")
        failed = world.wait_end("bad")
        check(failed["executionState"] == "failed" and failed["executionInfo"]["exitCode"] == 3, f"exit code 3: {failed['executionInfo']}")
        world.wait_idle(3)
        for node in lab.nodes:
            check(not world.job_pids(node), f"no rank left on {node}")


if __name__ == "__main__":
    main(globals())
