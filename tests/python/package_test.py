#!/usr/bin/python3
"""The Python package: its type hints hold (mypy --strict), pip installs it from the checkout as its README says, and its
stubs are the .proto files'."""
import os
import re
import shutil
import subprocess
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

    def test_pip_installs_it_from_the_checkout_as_its_readme_says(self):
        with open(os.path.join(CLIENT, "README.md")) as file:
            line = re.search(r"^python3 -m venv .*$", file.read(), re.M).group(0)
        with tempfile.TemporaryDirectory() as folder:
            # Building writes beside the sources: so in a copy, with what the stubs are made from. Nothing is downloaded.
            shutil.copytree(CLIENT, os.path.join(folder, "clients", "python"))
            shutil.copytree(os.path.join(CLIENT, "..", "..", "proto"), os.path.join(folder, "proto"))
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": folder, "PIP_NO_INDEX": "1"}
            code, said = run("bash", "-ec", line, cwd=folder, env=environment)
            self.assertEqual(code, 0, said)
            library = os.path.join(folder, "trainyard")
            script = ("import os, trainyard, trainyard.v1.jobs_pb2_grpc as s; here = os.path.dirname(trainyard.__file__); "
                      "print(here, s.JobsStub.__name__, trainyard.connect(), os.path.exists(here + '/py.typed'), os.path.exists(here + '/v1/jobs_pb2.pyi'))")
            code, said = run(os.path.join(library, "bin", "python"), "-c", script, cwd=folder, env=environment)
            self.assertEqual(code, 0, said)
            self.assertTrue(said.startswith(library) and said.endswith("True True\n"), said)


if __name__ == "__main__":
    unittest.main()
