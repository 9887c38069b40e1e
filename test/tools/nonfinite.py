#!/usr/bin/env python3
"""Numbers that are not finite: a run says where they come from, loses nothing, and skips the step if it is told to.

    nonfinite.py GRAFT MODEL-FOLDER
"""
import json
import os
import shutil
import sys
import tempfile

import numpy as np
from command import Failure, run, run_checks, write_recipe, write_rollouts
from safetensors.numpy import load_file, save_file

ROWS, WIDTH = 4, 16


def train(program, work, weights, steps, lr=1e-4, policy="stop", out="run"):
    write_recipe(f"{work}/recipe.toml", f"{work}/model.onnx", weights, ROWS, WIDTH, lr=lr, old_logprobs="current")
    with open(f"{work}/recipe.toml") as file:
        text = file.read().replace("clip_grad_norm = 1.0", f'clip_grad_norm = 1.0\non_nonfinite = "{policy}"')
    with open(f"{work}/recipe.toml", "w") as file:
        file.write(text)
    write_rollouts(f"{work}/rollouts.jsonl", steps * ROWS, 200, seed=3)
    return run(program, "train", f"{work}/recipe.toml", "--rollouts", f"{work}/rollouts.jsonl", "--steps", steps, "--out", f"{work}/{out}")


def expect(condition, what, done):
    if not condition:
        raise Failure(f"{what}: exit code {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-1500:]}")


def weights_with(folder, work, name, index, value):
    tensors = load_file(f"{folder}/weights.safetensors")
    tensors[name] = tensors[name].copy()
    tensors[name][index] = value
    save_file(tensors, f"{work}/broken.safetensors")
    return f"{work}/broken.safetensors"


def check_weights(program, folder, work):
    """NaN in a weight: the first step fails and names tensor, row and column."""
    name = "model.layers.1.mlp.up_proj.weight"
    done = train(program, work, weights_with(folder, work, name, (3, 5), np.nan), 2)
    expect(done.returncode == 5 and f"weights '{name}' are not finite in row 3, column 5" in done.stderr, "NaN in a weight", done)


def check_overflow(program, folder, work):
    """Finite weights whose product is not: the instruction and its place in the model are named."""
    name = "model.layers.0.mlp.down_proj.weight"
    done = train(program, work, weights_with(folder, work, name, (0, 0), 3e38), 1, out="overflow")
    expect(done.returncode == 5 and "instruction" in done.stderr and "model.layers." in done.stderr and "makes infinity in" in done.stderr,
           "an overflow", done)


def check_last_good_weights(program, folder, work):
    """A rate that breaks the weights: the weights of the last good step are saved, and are what was trained."""
    done = train(program, work, f"{folder}/weights.safetensors", 4, lr=1e30, out="broken")
    expect(done.returncode == 5, "a rate of 1e30", done)
    lines = [json.loads(line) for line in open(f"{work}/broken/metrics.jsonl")]
    last = f"{work}/broken/checkpoints/step-{len(lines)}"
    expect(len(lines) >= 1 and os.path.isdir(last), f"no {last} after {len(lines)} good steps", done)
    expect(f"step {len(lines) + 1}" in done.stderr and f"those of step {len(lines)}" in done.stderr, "which step failed, which weights stay", done)


def check_skip(program, folder, work):
    """Skipped steps are written down; ten in a row end the run."""
    done = train(program, work, f"{folder}/weights.safetensors", 4, lr=1e30, policy="skip", out="skips")
    expect(done.returncode == 0, "four steps of which some are skipped", done)
    lines = [json.loads(line) for line in open(f"{work}/skips/metrics.jsonl")]
    skipped = [line for line in lines if line.get("skipped")]
    expect([line["step"] for line in lines] == [1, 2, 3, 4] and skipped and all(line["reason"] for line in skipped), f"metrics say {lines}", done)
    done = train(program, work, f"{folder}/weights.safetensors", 15, lr=1e30, policy="skip", out="hopeless")
    expect(done.returncode == 5 and "the last 10 steps was skipped" in done.stderr, "ten skipped steps in a row", done)


def main():
    program, folder = sys.argv[1:3]

    def checked(function):
        with tempfile.TemporaryDirectory() as work:
            shutil.copy(f"{folder}/model.onnx", work)
            function(program, folder, work)
        return "holds"

    checks = (check_weights, check_overflow, check_last_good_weights, check_skip)
    return run_checks([(one.__doc__.rstrip("."), lambda one=one: checked(one)) for one in checks])


if __name__ == "__main__":
    sys.exit(main())
