#!/usr/bin/env python3
"""Every row program of the test models and of SmolLM2's example as CUDA code, without a GPU.

    cuda.py GRAFT GRAFT-TRANSLATE SOURCE [--resources]

Each model is compiled for sm_80 and sm_90: the program has PTX, and cubins where there is a ptxas; the PTX has a kernel for each distinct
row program, 16-byte accesses, no function from elsewhere and no local memory. SmolLM2 takes at most 15 seconds, all stages. --resources: what `ptxas -v`
says of the same kernels: no stack, no spills, at most 255 registers. Exit 77: there is no ptxas.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from command import Failure, graft, run_checks, write_recipe

TARGETS = ["--target", "cuda:sm_80,sm_90", "--target", "x86-64-v3"]
SECONDS, REGISTERS = 15, 255


def find_ptxas():
    """As passes/codegen/Ptxas.h."""
    home = os.environ.get("CUDA_HOME")
    return home and shutil.which("ptxas", path=f"{home}/bin") or shutil.which("ptxas")


def write_smollm2(source, path):
    """The example's recipe without its weights, which compiling does not need."""
    with open(f"{source}/recipe.toml", encoding="utf-8") as file:
        text = re.sub(r"(?m)^weights = .*\n", "", file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"model.onnx"', f'"{source}/model.onnx"'))


def compile_model(program, name, source, work):
    """(what compile says in JSON, the file of the row programs)"""
    recipe, programs = f"{work}/recipe.toml", f"{work}/programs.mlir"
    if name == "smollm2":
        write_smollm2(f"{source}/examples/smollm2", recipe)
    else:
        folder = f"{source}/test/data/models/{name}"
        write_recipe(recipe, graph=f"{folder}/model.onnx", weights=f"{folder}/weights.safetensors", sequences=4, tokens=12)
    done = graft(program, "compile", recipe, "-o", f"{work}/p.graft", *TARGETS, "--dump", f"lower={programs}", "--json")
    return json.loads(done.stdout), programs


def ptx_of(translate, programs):
    done = subprocess.run([translate, "--row-programs-to-ptx", programs], capture_output=True, text=True)
    if done.returncode:
        raise Failure(done.stderr[-800:])
    return done.stdout


def check_kernels(arguments, name):
    with tempfile.TemporaryDirectory() as work:
        start = time.monotonic()
        said, programs = compile_model(arguments.graft, name, arguments.source, work)
        seconds = time.monotonic() - start
        ptx = ptx_of(arguments.translate, programs)
    cubins = {"sm_80", "sm_90"} if find_ptxas() else set()
    if not {"ptx"} | cubins <= set(said["objects"]):
        raise Failure(f"the program has code for {', '.join(said['objects'])}")
    kernels = re.findall(r"\.visible \.entry (\w+)\(", ptx)
    if len(kernels) != said["distinct_kernels"]:
        raise Failure(f"{len(kernels)} kernels for {said['distinct_kernels']} distinct row programs")
    for word in (".extern", ".local", ".func"):
        if word in ptx:
            raise Failure(f"PTX has {word}")
    if name == "smollm2" and seconds > SECONDS:
        raise Failure(f"took {seconds:.1f} s")
    for word in ("ld.global.nc.v4.b32", "st.global.v4.b32"):
        if word not in ptx:
            raise Failure(f"PTX has no {word}: the row programs do not say how their memory lies")
    return f"{len(kernels)} kernels, {len(ptx) // 1024} KiB of PTX, {seconds:.1f} s in all"


def resources(ptxas, ptx, architecture, work):
    """{kernel: (registers, bytes of stack and spills)}"""
    with open(f"{work}/k.ptx", "w", encoding="utf-8") as file:
        file.write(ptx)
    done = subprocess.run([ptxas, "-v", f"-arch={architecture}", f"{work}/k.ptx", "-o", f"{work}/k.cubin"], capture_output=True, text=True)
    if done.returncode:
        raise Failure(done.stderr[-800:])
    found = {}
    for part in done.stderr.split("Compiling entry function '")[1:]:
        memory = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        found[part[: part.index("'")]] = int(re.search(r"Used (\d+) registers", part)[1]), sum(map(int, memory.groups()))
    return found


def check_resources(arguments, name):
    with tempfile.TemporaryDirectory() as work:
        if name.endswith(".mlir"):
            ptx = ptx_of(arguments.translate, f"{arguments.source}/{name}")
        else:
            ptx = ptx_of(arguments.translate, compile_model(arguments.graft, name, arguments.source, work)[1])
        said = []
        for architecture in ("sm_80", "sm_90"):
            found = resources(find_ptxas(), ptx, architecture, work)
            heavy = {kernel: use for kernel, use in found.items() if use[0] > REGISTERS or use[1]}
            if heavy or not found:
                raise Failure(f"{architecture}: (registers, bytes of stack and spills) {heavy}")
            counts = sorted(registers for registers, _ in found.values())
            said.append(f"{architecture} {counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}")
    return f"{len(found)} kernels, registers: {'; '.join(said)}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("translate")
    parser.add_argument("source")
    parser.add_argument("--resources", action="store_true")
    arguments = parser.parse_args()
    models = [*sorted(os.listdir(f"{arguments.source}/test/data/models")), "smollm2"]
    if not arguments.resources:
        return run_checks([(model, lambda model=model: check_kernels(arguments, model)) for model in models])
    if not find_ptxas():
        print("skipped: there is no ptxas in PATH or CUDA_HOME")
        return 77
    sources = [*models, "test/passes/codegen/row-programs-to-ptx.mlir"]
    return run_checks([(source, lambda source=source: check_resources(arguments, source)) for source in sources])


if __name__ == "__main__":
    sys.exit(main())
