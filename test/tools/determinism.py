#!/usr/bin/env python3
"""The same inputs give the same bytes: two compiles; two runs; one thread and two; a run that is interrupted and resumed;
also with products in bfloat16, and with narrow weights and moments, whose random bits depend on the step alone.

    determinism.py GRAFT MODEL-FOLDER
"""
import hashlib
import json
import os
import shutil
import sys
import tempfile

import numpy as np
from command import Failure, graft, write_recipe, write_rollouts
from safetensors.numpy import load_file

STEPS, ROWS, WIDTH = 4, 4, 16
VOLATILE = {"seconds", "tokens_per_second", "memory"}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def metrics(folder):
    with open(f"{folder}/metrics.jsonl") as file:
        return [{key: value for key, value in json.loads(line).items() if key not in VOLATILE} for line in file]


def same(what, first, second):
    if first != second:
        raise Failure(f"{what} differ:\n  {first}\n  {second}")
    print(f"ok   {what}")


def train(program, work, out, steps=STEPS, threads=2, resume=False):
    graft(program, "train", f"{work}/recipe.toml", "--rollouts", f"{work}/rollouts.jsonl", "--steps", steps, "--out", f"{work}/{out}", "--save-every", 2,
          *["--resume"] * resume, env={"GRAFT_THREADS": str(threads)})


def check(program, model, work, **precision):
    write_recipe(f"{work}/recipe.toml", f"{model}/model.onnx", f"{model}/weights.safetensors", ROWS, WIDTH, lr=1e-3, old_logprobs="initial", **precision)
    for name in ("a", "b"):
        graft(program, "compile", f"{work}/recipe.toml", "-o", f"{work}/{name}.graft")
    same("two compiles", digest(f"{work}/a.graft"), digest(f"{work}/b.graft"))
    with open(f"{work}/a.graft", "rb") as file:
        same("lines of a program with the path of the graph (the recipe has one)", file.read().count(f"{model}/model.onnx".encode()), 1)

    vocabulary = json.load(open(f"{model}/config.json"))["vocab_size"]
    write_rollouts(f"{work}/rollouts.jsonl", STEPS * ROWS, vocabulary, seed=5)
    for name in ("one", "two"):
        train(program, work, name)
    same("metrics of two runs", metrics(f"{work}/one"), metrics(f"{work}/two"))
    weights = f"checkpoints/step-{STEPS}/model.safetensors"
    same("saved weights of two runs", digest(f"{work}/one/{weights}"), digest(f"{work}/two/{weights}"))
    if digest(f"{work}/one/{weights}") == digest(f"{model}/weights.safetensors"):
        raise Failure("training changed nothing")

    train(program, work, "single", threads=1)
    for one, two in zip(metrics(f"{work}/single"), metrics(f"{work}/one")):
        if not np.allclose(list(one.values()), list(two.values()), rtol=1e-4, atol=1e-6):
            raise Failure(f"one thread and two disagree:\n  {one}\n  {two}")
    print("ok   one thread and two agree")

    # As if the process had died between steps 2 and 4: only the checkpoint of step 2 is left, and metrics beyond it.
    shutil.copytree(f"{work}/one", f"{work}/cut")
    shutil.rmtree(f"{work}/cut/checkpoints/step-{STEPS}")
    train(program, work, "cut", resume=True)
    same("metrics of a resumed run", metrics(f"{work}/cut"), metrics(f"{work}/one"))
    same("saved weights of a resumed run", digest(f"{work}/cut/{weights}"), digest(f"{work}/one/{weights}"))
    saved, source = load_file(f"{work}/one/{weights}"), load_file(f"{model}/weights.safetensors")
    same("names, shapes and types of the saved weights", {k: (v.shape, v.dtype) for k, v in saved.items()}, {k: (v.shape, v.dtype) for k, v in source.items()})


def main():
    program, model = sys.argv[1:]
    for precision in ({}, {"compute": "bfloat16", "state": "8bit"}, {"state": "bfloat16", "parameters": "bfloat16"}):
        print(f"     {precision}")
        with tempfile.TemporaryDirectory() as work:
            try:
                check(program, model, work, **precision)
            except Failure as failure:
                sys.exit(f"FAIL {failure}")


if __name__ == "__main__":
    main()
