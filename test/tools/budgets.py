#!/usr/bin/env python3
"""Budgets are promises: programs compiled for twenty of them need no more, and give the same bits.

    budgets.py GRAFT FOLDER-OF-MODELS [--only NAME,NAME]

For each model, from the smallest budget that fits to the fastest plan: what `graft plan` predicts is what `graft compile` plans and what
`graft explain` finds in the file; more memory never costs more time or FLOPs; loss, log-probs, metrics and every gradient of one `accumulate`
are the same bits. Below the smallest budget: exit 4, and the budget that the message recommends is taken.
"""
import argparse
import json
import re
import sys
import tempfile

import numpy as np
from command import Failure, accumulate, graft, run, run_checks, write_recipe
from safetensors.numpy import load_file

BUDGETS = 20


def compile_within(program, work, budget, name):
    with open(f"{work}/recipe.toml") as base, open(f"{work}/{name}.toml", "w") as file:
        file.write(base.read() + f'[memory]\nbudget = "{budget}B"\n')
    return run(program, "compile", f"{work}/{name}.toml", "-o", f"{work}/{name}.graft", "--json", "--quiet")


def device_bytes(summary):
    return sum(summary[key] for key in ("parameter_bytes", "gradient_bytes", "state_bytes", "working_bytes", "arena_bytes", "constant_bytes"))


def same_bits(what, one, other):
    if one.keys() != other.keys():
        raise Failure(f"{what}: other results")
    for key in one:
        if one[key].tobytes() != other[key].tobytes():
            raise Failure(f"{what}: {key} differs by {np.abs(one[key] - other[key]).max()}")


def check_refusal(program, work, smallest):
    done = compile_within(program, work, smallest - 1, "refused")
    if done.returncode != 4:
        raise Failure(f"one byte too few gave exit code {done.returncode}: {done.stderr}")
    recommended = re.search(r'memory.budget = \\"(\w+)\\"', done.stdout)
    if not recommended or str(smallest) not in done.stdout:
        raise Failure(f"the message does not name the smallest budget, {smallest}: {done.stdout}")
    sizes = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
    number, unit = re.fullmatch(r"(\d+)(\w+)", recommended[1]).groups()
    done = compile_within(program, work, int(number) * sizes[unit], "recommended")
    if done.returncode != 0:
        raise Failure(f"the recommended budget {recommended[1]} gave exit code {done.returncode}: {done.stderr}")


def check(program, folder, compute, work):
    rows, width = load_file(f"{folder}/batch.safetensors")["input_ids"].shape
    write_recipe(f"{work}/recipe.toml", f"{folder}/model.onnx", f"{folder}/weights.safetensors", rows, width, compute=compute)
    points = json.loads(graft(program, "plan", f"{work}/recipe.toml", "--budgets", BUDGETS, "--json").stdout)["budgets"]
    if len(points) != BUDGETS:
        raise Failure(f"{len(points)} points instead of {BUDGETS}")
    expected, last = None, None
    for point in reversed(points):
        done = compile_within(program, work, point["budget"], "p")
        if done.returncode != 0:
            raise Failure(f"{point['budget']} bytes gave exit code {done.returncode}: {done.stderr}")
        planned = device_bytes(json.loads(done.stdout))
        if not planned == point["device_bytes"] <= point["budget"]:
            raise Failure(f"budget {point['budget']}: predicted {point['device_bytes']}, planned {planned}")
        explained = json.loads(graft(program, "explain", f"{work}/p.graft", "--json").stdout)
        if explained["arena_bytes"] != point["arena_bytes"]:
            raise Failure(f"the file says {explained['arena_bytes']} bytes of arena, predicted {point['arena_bytes']}")
        if last and (point["seconds"] < last["seconds"] - 1e-12 or point["flops"] < last["flops"]):
            raise Failure(f"{point['budget']} bytes are faster than {last['budget']}")
        got = accumulate(program, f"{work}/p.graft", f"{folder}/batch.safetensors", f"{folder}/weights.safetensors", f"{work}/p.safetensors")
        expected = expected or got
        same_bits(f"budget {point['budget']}", expected, got)
        last = point
    check_refusal(program, work, points[0]["budget"])
    first, last = points[0], points[-1]
    return (f"{first['device_bytes']} to {last['device_bytes']} bytes, arena {first['arena_bytes']} to {last['arena_bytes']}, "
            f"{100 * (first['flops'] / last['flops'] - 1):.0f} % more FLOPs at the least")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("models")
    parser.add_argument("--only", default="llama,gpt2,gemma3_text")
    arguments = parser.parse_args()

    def checked(name, compute):
        with tempfile.TemporaryDirectory() as work:
            return check(arguments.graft, f"{arguments.models}/{name}", compute, work)

    cases = [(name, "float32") for name in arguments.only.split(",")] + [("llama", "bfloat16")]
    return run_checks([(f"{name}, {compute}", lambda name=name, compute=compute: checked(name, compute)) for name, compute in cases])


if __name__ == "__main__":
    sys.exit(main())
