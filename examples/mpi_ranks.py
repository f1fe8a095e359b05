#!/usr/bin/env python3
"""The smallest MPI program: every rank adds up the ranks and says so. Whatever arguments it gets, it ignores: it stands in for
training scripts of frameworks that are not at hand."""
import socket
import sys

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank)
print(f"rank {world.rank} of {world.size} on {socket.gethostname()}: the ranks add up to {total}", flush=True)
sys.exit(0 if total == world.size * (world.size - 1) // 2 else 1)
