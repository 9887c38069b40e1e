#!/usr/bin/env python3
"""Every row program on a GPU against this CPU: the texts here, code generation's, the test models', SmolLM2's.

    run.py BUILD SOURCE [--write FOLDER | --emulated FOLDER]

Exit 77: there is no GPU. --write: only writes the programs; with BUILD/test/bin/gpu_kernels they are all that a machine with a GPU needs:
`gpu_kernels FOLDER/*.graft`. --emulated: the texts and two models by the driver in the folder, emulated_driver.cpp.
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
FEW = ("gemma3_text", "llama")


def write_programs(build, source, folder, models):
    """NAME.graft, and NAME.mlir with its row programs."""
    for text in TEXTS:
        name = os.path.splitext(os.path.basename(text))[0]
        shutil.copy(f"{source}/{text}", f"{folder}/{name}.mlir")
        subprocess.run([f"{build}/test/bin/write_kernels", f"{source}/{text}", f"{folder}/{name}.graft"], check=True)
    for model in models:
        with tempfile.TemporaryDirectory() as work:
            _, programs = compile_model(f"{build}/bin/graft", model, source, work)
            shutil.move(f"{work}/p.graft", f"{folder}/{model}.graft")
            shutil.move(programs, f"{folder}/{model}.mlir")


def check_emulated(check, driver, folder):
    """The worst exit code."""
    worst = 0
    for name in sorted(os.path.splitext(name)[0] for name in os.listdir(folder) if name.endswith(".graft")):
        env = {**os.environ, "LD_LIBRARY_PATH": driver, "EMULATED_ROW_PROGRAMS": f"{folder}/{name}.mlir"}
        worst = max(worst, subprocess.run([check, "--untimed", f"{folder}/{name}.graft"], env=env).returncode)
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("source")
    parser.add_argument("--write")
    parser.add_argument("--emulated")
    arguments = parser.parse_args()
    build, source = arguments.build, arguments.source
    models = [*sorted(os.listdir(f"{source}/test/data/models")), "smollm2"]
    if arguments.write:
        os.makedirs(arguments.write, exist_ok=True)
        write_programs(build, source, arguments.write, models)
        return 0
    check = f"{build}/test/bin/gpu_kernels"
    if not arguments.emulated and (code := subprocess.run([check]).returncode):
        return code
    with tempfile.TemporaryDirectory() as folder:
        write_programs(build, source, folder, FEW if arguments.emulated else models)
        if arguments.emulated:
            return check_emulated(check, arguments.emulated, folder)
        return subprocess.run([check, *(f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".graft"))]).returncode


if __name__ == "__main__":
    sys.exit(main())
