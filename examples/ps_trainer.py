#!/usr/bin/env python3
"""A parameter-server training with TensorFlow's two contracts, in numpy: parameter servers hold the weights and never end,
workers fetch them and send gradients, worker 0 (the master, TensorFlow's chief) tests and saves. Who we are comes from

  --job_name ps|worker --task_index I --ps_hosts A,B --worker_hosts C,D     as in Batch AI's TensorFlow recipe
  TF_CONFIG                                                                 where no --job_name is given

  --data FILE   the digits (default: digits.csv or data/digits.csv beside this script)
  --checkpoint_dir DIR, --log_dir DIR   worker 0 leaves model.npy and log.txt there
"""
import argparse
import json
import os
import pickle
import socket
import socketserver
import struct
import sys
import threading
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np  # noqa: E402

SHAPE = (65, 10)


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("job_name", "ps_hosts", "worker_hosts", "data", "data_dir", "checkpoint_dir", "log_dir"):
        parser.add_argument("--" + name)
    parser.add_argument("--task_index", type=int)
    parser.add_argument("--train_steps", type=int, default=400)
    return parser.parse_known_args()[0]


def role(given):
    """(is a parameter server, index among its like with the master as worker 0, servers, workers)"""
    if given.job_name:
        return (given.job_name == "ps", given.task_index, given.ps_hosts.split(","), given.worker_hosts.split(","))
    config = json.loads(os.environ["TF_CONFIG"])
    cluster, task = config["cluster"], config["task"]
    workers = cluster["chief"] + cluster.get("worker", [])
    if cluster[task["type"]][task["index"]] is None:
        raise ValueError("TF_CONFIG names a task that is not in its cluster")
    return task["type"] == "ps", task["index"] + (task["type"] == "worker"), cluster["ps"], workers


def exactly(link, size):
    data = bytearray()
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ConnectionError("the other side is gone")
        data += piece
    return bytes(data)


def send(link, value):
    data = pickle.dumps(value)
    link.sendall(struct.pack("I", len(data)) + data)


def receive(link):
    return pickle.loads(exactly(link, struct.unpack("I", exactly(link, 4))[0]))


def serve(address):
    """Holds a part of the weights: answers None with them, anything else is a gradient. For ever."""
    host, port = address.rsplit(":", 1)
    state, lock = {"part": None}, threading.Lock()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                while True:
                    kind, value = receive(self.request)
                    with lock:
                        if state["part"] is None:
                            state["part"] = np.zeros(value if kind == "shape" else value.shape)
                        if kind == "gradient":
                            state["part"] = state["part"] - value
                        part = state["part"]
                    send(self.request, part)
            except ConnectionError:
                pass

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer((host, int(port)), Handler) as server:
        print(f"parameter server at {address}", flush=True)
        server.serve_forever()


def dial(address):
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=60)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def digits(given):
    here = os.path.dirname(os.path.abspath(__file__))
    places = [given.data, os.path.join(given.data_dir or here, "digits.csv"), os.path.join(here, "digits.csv"),
              os.path.join(here, "data", "digits.csv")]
    for name in places:
        if name and os.path.exists(name):
            table = np.loadtxt(name, delimiter=",")
            return np.hstack([table[:, :-1] / 16, np.ones((len(table), 1))]), table[:, -1].astype(int)
    sys.exit("no digits: give --data FILE")


def work(given, index, servers, workers):
    links = [dial(address) for address in servers]
    rows = np.array_split(np.arange(SHAPE[0]), len(links))

    def exchange(gradient):
        for link, part in zip(links, rows):
            send(link, ("shape", (len(part), SHAPE[1])) if gradient is None else ("gradient", gradient[part]))
        return np.vstack([receive(link) for link in links])

    images, labels = digits(given)
    test = np.arange(len(labels)) % 5 == 0
    mine = np.flatnonzero(~test)[index::len(workers)]
    random, weights = np.random.default_rng(index), exchange(None)
    print(f"worker {index} of {len(workers)}, {len(servers)} parameter server(s): {len(mine)} images", flush=True)
    for _ in range(min(given.train_steps, 400)):
        batch = random.choice(mine, 32)
        scores = np.exp(images[batch] @ weights)
        wrong = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[labels[batch]]
        weights = exchange(0.3 * images[batch].T @ wrong / len(batch))
    accuracy = float(((images[test] @ weights).argmax(axis=1) == labels[test]).mean())
    print(f"worker {index}: test accuracy {accuracy:.4f}", flush=True)
    if index == 0:
        for folder, name, text in ((given.checkpoint_dir, "model.npy", None), (given.log_dir, "log.txt", f"{accuracy}\n")):
            if folder:
                os.makedirs(folder, exist_ok=True)
                if text is None:
                    np.save(os.path.join(folder, name), weights)
                else:
                    with open(os.path.join(folder, name), "w") as file:
                        file.write(text)
    sys.exit(0 if accuracy > 0.85 else 1)


def main():
    given = arguments()
    is_server, index, servers, workers = role(given)
    if is_server:
        serve(servers[index])
    work(given, index, servers, workers)


if __name__ == "__main__":
    main()
