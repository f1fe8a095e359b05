#!/usr/bin/python3
"""The Python package: its type hints hold (mypy --strict), it installs from the checkout, and its stubs are the .proto files'."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.join(HERE, "..", "..", "clients", "python")
BUILT = os.environ.get("PYTHONPATH", "")


def run(*argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return done.returncode, done.stdout


class Package(unittest.TestCase):
    def test_type_hints_hold(self):
        if shutil.which("mypy") is None:
            self.skipTest("mypy is not installed (deploy/packages has it)")
        with tempfile.TemporaryDirectory() as cache:
            code, said = run("mypy", "--config-file", os.path.join(CLIENT, "pyproject.toml"), "--cache-dir", cache, "-p", "trainyard", cwd=BUILT)
        self.assertEqual(code, 0, said)

    def test_it_installs_from_the_checkout_and_knows_every_service(self):
        with tempfile.TemporaryDirectory() as folder:
            # Building writes beside the sources: so in a copy, with what the stubs are made from.
            library, copy = os.path.join(folder, "lib"), os.path.join(folder, "clients", "python")
            shutil.copytree(CLIENT, copy)
            shutil.copytree(os.path.join(CLIENT, "..", "..", "proto"), os.path.join(folder, "proto"))
            code, said = run(sys.executable, "setup.py", "-q", "build", "--build-lib", library, cwd=copy)
            self.assertEqual(code, 0, said)
            script = "import trainyard, trainyard.v1.jobs_pb2_grpc as s; print(trainyard.__file__, s.JobsStub.__name__, trainyard.connect())"
            code, said = run(sys.executable, "-c", script, cwd=folder, env={**os.environ, "PYTHONPATH": library})
            self.assertEqual(code, 0, said)
            self.assertTrue(said.startswith(library), said)
            self.assertTrue(os.path.exists(os.path.join(library, "trainyard", "py.typed")))
            self.assertTrue(os.path.exists(os.path.join(library, "trainyard", "v1", "jobs_pb2.pyi")))


if __name__ == "__main__":
    unittest.main()
