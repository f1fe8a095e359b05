#!/usr/bin/env python3
"""Data-parallel training without MPI: workers meet by one of the contracts that Trainyard's toolkits speak, and average
their gradients over TCP. numpy only. The rendezvous is, in this order,

  --dist-url tcp://HOST:PORT --rank R --world-size N      pyTorchSettings, as in Batch AI's PyTorch recipe
  --file_store_path DIR --shard_id R --num_shards N       caffe2Settings: worker 0 leaves its address in the shared DIR
  JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID, JAX_NUM_PROCESSES                jaxSettings
  MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE              torchrunSettings

  --data FILE   the digits (default: digits.csv or data/digits.csv beside this script)
  --epochs N    default 30
"""
import argparse
import os
import socket
import struct
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dist-url")
    parser.add_argument("--dist-backend")
    parser.add_argument("--rank", type=int)
    parser.add_argument("--world-size", type=int)
    parser.add_argument("--file_store_path")
    parser.add_argument("--shard_id", type=int)
    parser.add_argument("--num_shards", type=int)
    parser.add_argument("--data")
    parser.add_argument("--epochs", type=int, default=30)
    return parser.parse_known_args()[0]  # recipes pass more than we know


def rendezvous(given):
    """(rank, size, host, port) of the meeting with worker 0; host None: worker 0 listens where it likes and says so."""
    if given.dist_url:
        host, port = given.dist_url[len("tcp://"):].rsplit(":", 1)
        return given.rank, given.world_size, host, int(port)
    if given.file_store_path:
        return given.shard_id, given.num_shards, None, 0
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        host, port = os.environ["JAX_COORDINATOR_ADDRESS"].rsplit(":", 1)
        return int(os.environ["JAX_PROCESS_ID"]), int(os.environ["JAX_NUM_PROCESSES"]), host, int(port)
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def exactly(link, size):
    data = bytearray()
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ConnectionError("a worker is gone")
        data += piece
    return bytes(data)


class Workers:
    """A star: worker 0 adds up what the others send, and sends the sum back."""

    def __init__(self, rank, size, host, port, store):
        self.rank, self.size, self.links = rank, size, []
        if rank == 0:
            listener = socket.create_server((host or "", port), backlog=size)
            if store:
                address = os.environ["AZ_BATCHAI_JOB_MASTER_NODE_IP"]
                with open(os.path.join(store, "address.new"), "w") as file:
                    file.write(f"{address}:{listener.getsockname()[1]}")
                os.rename(os.path.join(store, "address.new"), os.path.join(store, "address"))
            ranks = {}
            while len(ranks) < size - 1:
                link = listener.accept()[0]
                ranks[struct.unpack("i", exactly(link, 4))[0]] = link
            self.links = [ranks[r] for r in sorted(ranks)]
        else:
            self.links = [self._dial(host, port, store)]
            self.links[0].sendall(struct.pack("i", rank))

    @staticmethod
    def _dial(host, port, store):
        deadline = time.monotonic() + 60
        while True:
            try:
                if store:
                    with open(os.path.join(store, "address")) as file:
                        host, port = file.read().rsplit(":", 1)
                return socket.create_connection((host, int(port)), timeout=60)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def average(self, vector):
        if self.rank == 0:
            total = vector.copy()
            for link in self.links:
                total += np.frombuffer(exactly(link, vector.nbytes), vector.dtype)
            for link in self.links:
                link.sendall(total.tobytes())
        else:
            self.links[0].sendall(vector.tobytes())
            total = np.frombuffer(exactly(self.links[0], vector.nbytes), vector.dtype)
        return total / self.size


def digits(path):
    here = os.path.dirname(os.path.abspath(__file__))
    for name in [path] if path else [os.path.join(here, "digits.csv"), os.path.join(here, "data", "digits.csv")]:
        if os.path.exists(name):
            table = np.loadtxt(name, delimiter=",")
            return np.hstack([table[:, :-1] / 16, np.ones((len(table), 1))]), table[:, -1].astype(int)
    sys.exit("no digits: give --data FILE")


def main():
    given = arguments()
    rank, size, host, port = rendezvous(given)
    workers = Workers(rank, size, host, port, given.file_store_path)
    images, labels = digits(given.data)
    test = np.arange(len(labels)) % 5 == 0
    mine = np.flatnonzero(~test)[rank::size]
    weights, random = np.zeros((images.shape[1], 10)), np.random.default_rng(rank)
    print(f"worker {rank} of {size}: {len(mine)} images", flush=True)
    steps = int((~test).sum() / size / 32)  # the same on all, whatever the parts' sizes
    for _ in range(given.epochs):
        order = random.permutation(mine)
        for step in range(steps):
            batch = order[step * 32:(step + 1) * 32]
            scores = np.exp(images[batch] @ weights)
            wrong = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[labels[batch]]
            weights -= 0.5 * workers.average((images[batch].T @ wrong / len(batch)).ravel()).reshape(weights.shape)
    accuracy = float(((images[test] @ weights).argmax(axis=1) == labels[test]).mean())
    print(f"worker {rank}: test accuracy {accuracy:.4f}", flush=True)
    sys.exit(0 if accuracy > 0.9 else 1)


if __name__ == "__main__":
    main()
