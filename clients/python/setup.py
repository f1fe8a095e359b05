"""Builds the package: what pyproject.toml says, and trainyard.v1 made from proto/ (generate_stubs)."""
import os
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


class BuildWithStubs(build_py):
    def run(self) -> None:
        super().run()
        subprocess.run([sys.executable, os.path.join(HERE, "generate_stubs"), self.build_lib], check=True)


setup(cmdclass={"build_py": BuildWithStubs})
