#!/usr/bin/python3
"""Every published Batch AI recipe is accepted unchanged with the flags that its command line adds; those that can run without
GPUs, images and the original data sets run over four hosts to their own output files. Their scripts are stand-ins that speak
the same contract (examples/), at the paths where the recipes expect them; their images are mapped to the host. A table at the
end says of each recipe whether it ran or was only accepted, and why.

The recipes are read from $TRAINYARD_SHARED/recipes (default: ../shared beside the checkout); without them this is skipped.
"""
import json
import sys

from e2e import CHECKOUT, SKIPPED, Lab, World, check, main, os

SHARED = os.environ.get("TRAINYARD_SHARED", os.path.join(CHECKOUT, "..", "shared"))
RECIPES = os.path.join(SHARED, "recipes")
FLAGS = ["--storage-account-name", "a"]  # all that the recipes' command lines add for storage


def _recipes():
    if not os.path.isdir(RECIPES):
        print(f"skipped: {RECIPES} is not here (set TRAINYARD_SHARED)")
        sys.exit(SKIPPED)
    found = {}
    for name in sorted(os.listdir(RECIPES)):
        path = os.path.join(RECIPES, name, "job.json")
        if os.path.exists(path):
            with open(path) as file:
                found[name] = file.read()
    return found


def _images(recipes):
    names = {json.loads(text)["properties"]["containerSettings"]["imageSourceRegistry"]["image"] for text in recipes.values()}
    return [{"image": name, "run": "host", "interpreter": "/usr/bin/python3", "preparation": ""} for name in sorted(names)]


def _world(lab, target):
    world = World(lab, target=target)
    for share in ("logs", "scripts", "data", "myshare"):
        lab.cli("storage", "share", "create", "-n", share, "--account-name", "a").ok()
    return world


def _place(world, target, source):
    """A file where a recipe expects it, by hand into the directory behind the share."""
    path = os.path.join(os.path.dirname(world.share), target)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if source is None:
        return
    with open(os.path.join(CHECKOUT, "examples", source)) as file, open(path, "w") as copy:
        copy.write(file.read())


def accepted():
    recipes = _recipes()
    with Lab(nodes=1, images=_images(recipes)) as lab:
        world = _world(lab, 0)
        for number, (name, text) in enumerate(recipes.items()):
            created = world.create(f"job{number}", text, *FLAGS)
            job = json.loads(created.ok())
            settings = [k for k, v in json.loads(text)["properties"].items() if k.endswith("Settings") and k != "containerSettings"]
            check(job[settings[0]] is not None and job["executionState"] == "queued", f"{name} to be queued with its {settings}")
            check("ignored" not in created.err, f"nothing of {name} to be ignored: {created.err}")


def _output(world, name, file):
    segment = world.job(name)["jobOutputDirectoryPathSegment"]
    prefix = os.path.join(os.path.dirname(world.share), "myshare/cifar" if name == "_tutorial" else "logs")
    with open(os.path.join(prefix, segment, "stdouterr", file)) as out:
        return out.read()


# Recipe: the file where its script is expected, ours that stands in, the files that its processes write and what is in them.
RUNS = {
    "PyTorch-GPU-Distributed-Gloo": ("scripts/pytorch/mnist_trainer.py", "tcp_trainer.py",
                                     {"stdout-0.txt": "worker 0: test accuracy 0.9", "stdout-1.txt": "worker 1: test accuracy 0.9"}),
    "TensorFlow-GPU-Distributed": ("scripts/tensorflow/mnist_replica.py", "ps_trainer.py",
                                   {"stdout-wk-0.txt": "worker 0: test accuracy 0.9", "stdout-wk-1.txt": "worker 1: test accuracy 0.9",
                                    "stdout-ps-0.txt": "parameter server at"}),
    "Caffe2-GPU-Distributed": ("scripts/caffe2/resnet50_trainer.py", "tcp_trainer.py",
                               {"stdout-0.txt": "test accuracy 0.9", "stdout-1.txt": "test accuracy 0.9"}),
    "Chainer-GPU-Distributed": ("scripts/chainer/train_mnist.py", "mpi_ranks.py", {"stdout.txt": "rank 1 of 2"}),
    "Chainer-GPU-Distributed-Infiniband": ("scripts/chainer/train_mnist.py", "mpi_ranks.py", {"stdout.txt": "rank 7 of 8"}),
    "CNTK-GPU-Python-Distributed": ("scripts/cntk/ConvNet_CIFAR10_DataAug_Distributed.py", "mpi_ranks.py", {"stdout.txt": "rank 1 of 2"}),
    "CNTK-GPU-Python-Distributed-Infiniband": ("scripts/cntk/TrainResNet_CIFAR10_Distributed.py", "mpi_ranks.py", {"stdout.txt": "rank 7 of 8"}),
    "CNTK-GPU-Python": ("scripts/cntk/ConvNet_MNIST.py", "mpi_ranks.py", {"stdout.txt": "rank 0 of 1"}),
    "TensorFlow-GPU": ("scripts/tensorflow/convolutional.py", "mpi_ranks.py", {"stdout-wk-0.txt": "rank 0 of 1"}),
    "Horovod-Tensorflow": ("scripts/horovod/tensorflow_mnist.py", "mpi_ranks.py", {"stdout.txt": "rank 1 of 2"}),
    "Horovod-PyTorch": ("scripts/horovod/pytorch_mnist.py", "mpi_ranks.py", {"stdout.txt": "rank 1 of 2"}),
    "Distributed-Batch-Scoring-in-Tensorflow-with-GPU": ("scripts/classification_samples/batch_image_label.py", "mpi_ranks.py",
                                                         {"stdout.txt": "rank 1 of 2"}),
    "Horovod-Infiniband-Benchmark": ("scripts/horovod/tf_cnn_benchmarks.py", "mpi_ranks.py", {"stdout.txt": "rank 7 of 8"}),
    "_tutorial": ("myshare/cifar/cifar_cnn_distributed.py", "cifar_cnn_distributed.py", {"stdout.txt": "4 workers"}),
}


# What cannot run here, and why. Its file is accepted all the same.
ACCEPTED_ONLY = {
    "CNTK-GPU-BrainScript": "needs the program cntk, which Debian does not have; its command line: tests/exec/tasks_test.cc",
    "CNTK-GPU-BrainScript-Distributed": "needs the program cntk, which Debian does not have; its command line: tests/exec/tasks_test.cc",
}
# Recipes that run with one word changed: what stands in its place, and why.
CHANGED = {
    "Distributed-Batch-Scoring-in-Tensorflow-with-GPU": ('"python -u', '"/usr/bin/python3 -u', "Debian has no `python`; its image would bring it"),
    "Horovod-Infiniband-Benchmark": ("tensorflow:1.8.0-gpu", "tensorflow:benchmark", "its own preparation runs, which other recipes of the image do without"),
}
# In place of the clone from GitHub that the recipe's preparation makes.
BENCHMARK_PREPARATION = """mkdir -p $AZ_BATCHAI_JOB_TEMP/benchmarks/scripts/tf_cnn_benchmarks
cp $AZ_BATCHAI_JOB_MOUNT_ROOT/scripts/horovod/tf_cnn_benchmarks.py $AZ_BATCHAI_JOB_TEMP/benchmarks/scripts/tf_cnn_benchmarks/
"""


def _table(recipes):
    print(f"  {'recipe':<50} {'here':<14} why")
    for name in recipes:
        if name in RUNS:
            changed = f", {CHANGED[name][0]!r} changed: {CHANGED[name][2]}" if name in CHANGED else ""
            print(f"  {name:<50} {'runs':<14} {RUNS[name][1]} stands in for its script{changed}")
        else:
            print(f"  {name:<50} {'accepted only':<14} {ACCEPTED_ONLY[name]}")


def run():
    recipes = _recipes()
    check(set(recipes) == set(RUNS) | set(ACCEPTED_ONLY), f"of each recipe to be said whether it runs: {sorted(set(recipes) ^ (set(RUNS) | set(ACCEPTED_ONLY)))}")
    images = _images(recipes) + [{"image": "tensorflow/tensorflow:benchmark", "run": "host", "interpreter": "/usr/bin/python3"}]
    with Lab(nodes=4, images=images) as lab:
        world = _world(lab, 4)
        _place(world, "data/mnist_data/digits.csv", "data/digits.csv")
        for name, (script, source, _) in RUNS.items():
            _place(world, script, source)
            _place(world, os.path.join(os.path.dirname(script), "digits.csv"), "data/digits.csv")
        with open(os.path.join(os.path.dirname(world.share), "scripts/horovod/jobprep_benchmark.sh"), "w") as file:
            file.write(BENCHMARK_PREPARATION)
        for name in RUNS:
            old, new, _ = CHANGED.get(name, ("", "", ""))
            check(old in recipes[name], f"{old!r} in {name}")
            world.create(name, recipes[name].replace(old, new) if old else recipes[name], *FLAGS).ok()
        for name, (_, _, files) in RUNS.items():
            job = world.wait_end(name, 240)
            check(job["executionState"] == "succeeded", f"{name} to succeed: {job['executionInfo']}")
            for file, words in files.items():
                check(words in _output(world, name, file), f"{words!r} in {file} of {name}: {_output(world, name, file)[-400:]}")
        segment = world.job("TensorFlow-GPU-Distributed")["jobOutputDirectoryPathSegment"]
        outputs = os.path.join(os.path.dirname(world.share), "logs", segment, "outputs")
        check(os.path.exists(os.path.join(outputs, "Models", "model.npy")) and os.path.exists(os.path.join(outputs, "Logs", "log.txt")),
              f"the model and its log in the recipe's output directories: {os.listdir(outputs)}")
    _table(recipes)


if __name__ == "__main__":
    main(globals())
