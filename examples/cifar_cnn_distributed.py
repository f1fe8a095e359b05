#!/usr/bin/env python3
"""Data-parallel training under MPI, in the shape of Horovod's Keras tutorial whose script bore this name.

Every worker runs this program. Each goes over the training digits in an order of its own; after every batch the workers'
gradients are averaged; the epochs are divided by the number of workers; worker 0 prints and saves the model.

Horovod averages the gradients where it is installed (with PyTorch or TensorFlow 2), mpi4py + numpy otherwise.

  --dir DIR     the model goes to DIR/saved_models/keras_cifar10_trained_model.h5 (default: the current directory)
  --epochs N    epochs in all, divided by the number of workers (default 120)
  --data FILE   the digits. Without it, the first of these that exists:
                $DIGITS_CSV, digits.csv or data/digits.csv beside this script, DIR/digits.csv,
                $AZ_BATCHAI_JOB_TEMP/digits.csv (a job preparation can put it there)
"""
import argparse
import math
import os
import sys
import time

# One thread per worker: several workers may share one machine's cores. Before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

MODEL_NAME = "keras_cifar10_trained_model.h5"
CLASSES, HIDDEN, BATCH, MOMENTUM = 10, 96, 64, 0.9


def say(text):
    """Prints at once: a researcher follows the output live, and a pipe would hold it back."""
    print(text, flush=True)


class MpiWorkers:
    """The workers as mpi4py sees them. Started without mpirun it is a single worker."""

    def __init__(self):
        from mpi4py import MPI

        self._sum, self._world = MPI.SUM, MPI.COMM_WORLD
        self.name, self.rank, self.size = "mpi4py", self._world.Get_rank(), self._world.Get_size()

    def average(self, vector):
        total = np.empty_like(vector)
        self._world.Allreduce(vector, total, op=self._sum)
        return total / self.size

    def broadcast(self, vector):
        self._world.Bcast(vector, root=0)
        return vector


class HorovodWorkers:
    """The same four things by Horovod, on top of PyTorch or of TensorFlow 2."""

    def __init__(self):
        try:
            import horovod.torch as hvd
            import torch

            self._to, self._from = torch.from_numpy, lambda tensor: tensor.numpy()
        except ImportError:
            import horovod.tensorflow as hvd
            import tensorflow

            if not tensorflow.executing_eagerly():  # TensorFlow 1: its tensors hold no values outside of a session
                raise ImportError("horovod.tensorflow needs TensorFlow 2 here")
            self._to, self._from = tensorflow.constant, lambda tensor: tensor.numpy()
        hvd.init()
        self._hvd = hvd
        self.name, self.rank, self.size = "horovod", hvd.rank(), hvd.size()

    def average(self, vector):
        return self._from(self._hvd.allreduce(self._to(vector), name="gradient"))

    def broadcast(self, vector):
        return self._from(self._hvd.broadcast(self._to(vector), root_rank=0, name="weights"))


def find_workers():
    try:
        return HorovodWorkers()
    except ImportError:
        return MpiWorkers()


def find_data(given, directory):
    beside = os.path.dirname(os.path.abspath(__file__))
    places = [given] if given else [
        os.environ.get("DIGITS_CSV", ""),
        os.path.join(beside, "digits.csv"),
        os.path.join(beside, "data", "digits.csv"),
        os.path.join(directory, "digits.csv"),
        os.path.join(os.environ.get("AZ_BATCHAI_JOB_TEMP", ""), "digits.csv"),
    ]
    for place in places:
        if place and os.path.isfile(place):
            return place
    sys.exit("no digits.csv: looked for " + ", ".join(p for p in places if p) + "; name it with --data FILE")


def load_digits(path):
    """Every fifth digit is for testing, the rest for training."""
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    pixels, digits = rows[:, :64] / 16.0, rows[:, 64].astype(int)
    test = np.arange(len(rows)) % 5 == 0
    return (pixels[~test], digits[~test]), (pixels[test], digits[test])


class Model:
    """Two layers of weights in one flat vector, so that one all-reduce carries the whole gradient."""

    SHAPES = [(64, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]

    def __init__(self):
        random = np.random.default_rng(0)
        parts = [random.normal(0, math.sqrt(2.0 / s[0]), s) if len(s) == 2 else np.zeros(s) for s in self.SHAPES]
        self.weights = np.concatenate([p.ravel() for p in parts]).astype(np.float32)

    def parts(self, vector):
        start, found = 0, []
        for shape in self.SHAPES:
            end = start + math.prod(shape)
            found.append(vector[start:end].reshape(shape))
            start = end
        return found

    def predict(self, pixels):
        w1, b1, w2, b2 = self.parts(self.weights)
        hidden = np.maximum(pixels @ w1 + b1, 0)
        scores = hidden @ w2 + b2
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        return hidden, odds / odds.sum(axis=1, keepdims=True)

    def gradient(self, pixels, digits):
        w2 = self.parts(self.weights)[2]
        hidden, odds = self.predict(pixels)
        rows = np.arange(len(digits))
        loss = -np.log(odds[rows, digits] + 1e-9).mean()
        odds[rows, digits] -= 1
        odds /= len(digits)
        back = (odds @ w2.T) * (hidden > 0)
        parts = [pixels.T @ back, back.sum(axis=0), hidden.T @ odds, odds.sum(axis=0)]
        return loss, np.concatenate([p.ravel() for p in parts]).astype(np.float32)

    def score(self, pixels, digits):
        odds = self.predict(pixels)[1]
        loss = -np.log(odds[np.arange(len(digits)), digits] + 1e-9).mean()
        return float(loss), float((odds.argmax(axis=1) == digits).mean())

    def save(self, path):
        """As HDF5 where h5py is installed; without it a numpy archive under the same name (np.load reads it)."""
        names = ["dense_1/kernel", "dense_1/bias", "dense_2/kernel", "dense_2/bias"]
        named = dict(zip(names, self.parts(self.weights)))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        unfinished = path + ".part"
        try:
            import h5py

            with h5py.File(unfinished, "w") as file:
                for name, values in named.items():
                    file[name] = values
        except ImportError:
            with open(unfinished, "wb") as file:
                np.savez(file, **{name.replace("/", "_"): values for name, values in named.items()})
        os.replace(unfinished, path)


def train(model, workers, pixels, digits, epochs):
    # The tutorial's rule: the learning rate grows with the number of workers, and is reached step by step.
    full_rate, warm_up = 0.02 * workers.size, max(1, epochs // 8)
    speed = np.zeros_like(model.weights)
    order = np.random.default_rng(1000 + workers.rank)
    for epoch in range(epochs):
        started, losses = time.monotonic(), []
        rate = full_rate * min(1.0, (epoch + 1) / warm_up) * (0.1 if epoch >= 0.8 * epochs else 1.0)
        shuffled = order.permutation(len(digits))
        for first in range(0, len(digits), BATCH):
            chosen = shuffled[first:first + BATCH]
            loss, gradient = model.gradient(pixels[chosen], digits[chosen])
            speed = MOMENTUM * speed - rate * workers.average(gradient)
            model.weights += speed
            losses.append(loss)
        mean = workers.average(np.array([np.mean(losses)], dtype=np.float32))[0]
        if workers.rank == 0:
            say(f"Epoch {epoch + 1}/{epochs} - {time.monotonic() - started:.2f}s - loss: {mean:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--data", default="")
    args = parser.parse_args()

    started = time.monotonic()
    workers = find_workers()
    (pixels, digits), test = load_digits(find_data(args.data, args.dir))
    epochs = max(1, math.ceil(args.epochs / workers.size))
    if workers.rank == 0:
        say(f"{workers.size} workers ({workers.name}), {epochs} epochs each, "
            f"{len(digits)} training samples, {len(test[1])} test samples")
    model = Model()
    model.weights = workers.broadcast(model.weights)
    train(model, workers, pixels, digits, epochs)
    if workers.rank == 0:
        path = os.path.join(args.dir, "saved_models", MODEL_NAME)
        model.save(path)
        say(f"Saved trained model at {path}")
        loss, accuracy = model.score(*test)
        say(f"Test loss: {loss:.4f}")
        say(f"Test accuracy: {accuracy:.4f}")
        say(f"Took {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
