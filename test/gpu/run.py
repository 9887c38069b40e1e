#!/usr/bin/env python3
"""Every row program on a GPU against this CPU: the texts here, code generation's, the test models', SmolLM2's.

    run.py BUILD SOURCE [--write FOLDER]

Exit 77: there is no GPU. --write: only writes the programs; with BUILD/test/bin/gpu_kernels they are all that a machine with a GPU needs:
`gpu_kernels FOLDER/*.graft`.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from cuda import compile_model  # noqa: E402

TEXTS = ("test/gpu/odd_kernels.mlir", "test/passes/codegen/row-programs-to-ptx.mlir")


def write_programs(build, source, folder):
    for text in TEXTS:
        name = os.path.splitext(os.path.basename(text))[0]
        subprocess.run([f"{build}/test/bin/write_kernels", f"{source}/{text}", f"{folder}/{name}.graft"], check=True)
    for model in [*sorted(os.listdir(f"{source}/test/data/models")), "smollm2"]:
        with tempfile.TemporaryDirectory() as work:
            compile_model(f"{build}/bin/graft", model, source, work)
            shutil.move(f"{work}/p.graft", f"{folder}/{model}.graft")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("source")
    parser.add_argument("--write")
    arguments = parser.parse_args()
    if arguments.write:
        os.makedirs(arguments.write, exist_ok=True)
        write_programs(arguments.build, arguments.source, arguments.write)
        return 0
    check = f"{arguments.build}/test/bin/gpu_kernels"
    if code := subprocess.run([check]).returncode:
        return code
    with tempfile.TemporaryDirectory() as folder:
        write_programs(arguments.build, arguments.source, folder)
        return subprocess.run([check, *(f"{folder}/{name}" for name in sorted(os.listdir(folder)))]).returncode


if __name__ == "__main__":
    sys.exit(main())
