#!/usr/bin/env python3
"""Packed rows are the padded batch: the same log-probs, loss, metrics and gradients, whatever is packed how.

    packing.py GRAFT FOLDER-OF-MODELS [--only NAME,NAME] [--batches 3]

For each model, objective and capacity: random batches of two groups of sequences (padded right or left, lengths from one token to a full
row) through one padded program and one packed program per way of packing, compiled once: sequences side by side; prompts that are shared
computed once; everything in one row; several rows a step. Bound: 1e-5, of each tensor's norm or a thousandth of all gradients'.
"""
import argparse
import json
import sys
import tempfile

import numpy as np
from command import Failure, accumulate, graft, run, run_checks, write_recipe
from safetensors.numpy import save_file

ROWS, WIDTH, BOUND = 6, 20, 1e-5


def random_batch(draw, vocabulary, left):
    """Two groups: four completions of one prompt, two of another. A completion of one token, one that fills the row."""
    batch = {name: np.zeros((ROWS, WIDTH), kind) for name, kind in
             {"input_ids": np.int64, "attention_mask": np.int64, "loss_mask": np.float32, "old_logprobs": np.float32}.items()}
    prompts = [draw.integers(1, vocabulary, draw.integers(1, 9)) for _ in range(2)]
    for row in range(ROWS):
        prompt = prompts[row >= 4]
        length = {0: 1, 1: WIDTH - len(prompt)}.get(row) or draw.integers(1, WIDTH - len(prompt) + 1)
        start = WIDTH - len(prompt) - length if left else 0
        here = slice(start, start + len(prompt) + length)
        batch["input_ids"][row, here] = np.concatenate([prompt, draw.integers(1, vocabulary, length)])
        batch["attention_mask"][row, here] = 1
        batch["loss_mask"][row, start + len(prompt):here.stop] = 1
        batch["old_logprobs"][row, here] = draw.normal(-5, 0.1, len(prompt) + length)
    batch["advantages"] = draw.normal(0, 1, ROWS).astype(np.float32)
    return batch


def compile_program(program, work, folder, name, objective, packing):
    write_recipe(f"{work}/{name}.toml", f"{folder}/model.onnx", f"{folder}/weights.safetensors", ROWS, WIDTH)
    with open(f"{work}/{name}.toml") as file:
        text = file.read()
    text = text.replace(f"tokens = {WIDTH}", f"tokens = {WIDTH}\n{packing}")
    if objective == "gspo":
        text = text.replace('preset = "grpo"', 'preset = "gspo"').replace('aggregation = "token_mean"\n', "")
    else:
        text = text.replace('"token_mean"', f'"{objective}"')
    with open(f"{work}/{name}.toml", "w") as file:
        file.write(text)
    graft(program, "compile", f"{work}/{name}.toml", "-o", f"{work}/{name}.graft")


def outputs(program, work, folder, name):
    return accumulate(program, f"{work}/{name}.graft", f"{work}/batch.safetensors", f"{folder}/weights.safetensors", f"{work}/{name}.safetensors")


def worst_difference(got, want, mask):
    if got.keys() != want.keys():
        raise Failure(f"other results: {sorted(got.keys() ^ want.keys())}")
    gradients = [want[name].astype(np.float64) for name in want if name.startswith("grad.")]
    floor = 1e-3 * np.sqrt(sum(np.square(g).sum() for g in gradients))
    worst = ("", 0.0)
    for name in want:
        g, w = got[name].astype(np.float64), want[name].astype(np.float64)
        if name == "logprobs":
            difference = np.abs(g - w)[mask].max()
        elif name.startswith("grad."):
            difference = np.linalg.norm(g - w) / (np.linalg.norm(w) + floor)
        else:
            difference = np.abs(g - w).max() / max(1.0, np.abs(w).max())
        if not difference <= worst[1]:
            worst = (name, difference)
    return worst


def check(program, folder, work, batches):
    draw = np.random.default_rng(7)
    with open(f"{folder}/config.json") as file:
        vocabulary = json.load(file)["vocab_size"]
    worst = ("", "", 0.0)
    for objective in ("token_mean", "sequence_mean_token_mean", "gspo"):
        ways = {"rows": "packed = 128\nshare_prompts = false", "shared": "packed = 128\nshare_prompts = true", "several": "packed = 32\nshare_prompts = true"}
        compile_program(program, work, folder, "padded", objective, "")
        for name, packing in ways.items():
            compile_program(program, work, folder, name, objective, packing)
        for number in range(batches):
            batch = random_batch(draw, vocabulary, left=number % 2 == 1)
            save_file(batch, f"{work}/batch.safetensors")
            want = outputs(program, work, folder, "padded")
            for name in ways:
                where, difference = worst_difference(outputs(program, work, folder, name), want, batch["loss_mask"] > 0)
                if not difference <= BOUND:
                    raise Failure(f"{objective}, {name}, batch {number}: {where} differs by {difference:.1e}")
                if difference > worst[2]:
                    worst = (name, where, difference)
    return f"worst difference {worst[2]:.1e} ({worst[0]}: {worst[1]})"


def as_packed_file(batch):
    """The batch in one row, last sequence first, padding between them; and where each token stands, row by row."""
    order, places, width = [], {}, 1
    for row in reversed(range(ROWS)):
        columns = np.flatnonzero(batch["attention_mask"][row])
        places[row] = width + np.arange(len(columns))
        order.append((row, columns))
        width += len(columns) + row % 2
    packed = {name: np.zeros((1, width), array.dtype) for name, array in batch.items() if array.ndim == 2 and name != "attention_mask"}
    packed["segment_ids"] = np.zeros((1, width), np.int64)
    for row, columns in order:
        for name in packed:
            packed[name][0, places[row]] = row + 1 if name == "segment_ids" else batch[name][row, columns]
    return packed | {"advantages": batch["advantages"]}, places


def check_files(program, folder, work):
    """Batches that a file holds in one row, through a padded and a packed program."""
    batch = random_batch(np.random.default_rng(3), 200, False)
    packed, places = as_packed_file(batch)
    for name, packing in (("padded", ""), ("shared", "packed = 128")):
        compile_program(program, work, folder, name, "token_mean", packing)
        save_file(batch, f"{work}/batch.safetensors")
        want = outputs(program, work, folder, name)
        save_file(packed, f"{work}/batch.safetensors")
        got = outputs(program, work, folder, name)
        row = np.zeros_like(got["logprobs"])
        for sequence, where in places.items():
            row[0, where] = want["logprobs"][sequence, np.flatnonzero(batch["attention_mask"][sequence])]
        want["logprobs"] = row
        for key in want:
            if got[key].tobytes() != want[key].tobytes():
                raise Failure(f"{name}: {key} of the packed file differs by {np.abs(got[key] - want[key]).max():.1e}")
    return "a packed file gives the bits of the padded one"


def check_refusals(program, folder, work):
    """A sequence that no row holds; rows that are packed and cut."""
    save_file(random_batch(np.random.default_rng(1), 200, False), f"{work}/batch.safetensors")
    compile_program(program, work, folder, "small", "token_mean", "packed = 16")
    done = run(program, "run", f"{work}/small.graft", "--entry", "accumulate", "--batch", f"{work}/batch.safetensors", "--weights",
               f"{folder}/weights.safetensors", "--out", f"{work}/out.safetensors")
    if done.returncode != 3 or "a packed row holds 16" not in done.stderr:
        raise Failure(f"a sequence that is too long gave exit code {done.returncode}: {done.stderr}")
    try:
        compile_program(program, work, folder, "cut", "token_mean", "packed = 64\nmicro_batches = 2")
    except Failure as failure:
        if "exit code 2" in str(failure) and "micro_batches" in str(failure):
            return "refusals say what is wrong"
        raise
    raise Failure("packed rows were cut into micro-batches")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("models")
    parser.add_argument("--only", default="llama,gpt2,gemma3_text,opt")
    parser.add_argument("--batches", type=int, default=2)
    arguments = parser.parse_args()

    def checked(name, function, *more):
        with tempfile.TemporaryDirectory() as work:
            return function(arguments.graft, f"{arguments.models}/{name}", work, *more)

    checks = [(name, lambda name=name: checked(name, check, arguments.batches)) for name in arguments.only.split(",")]
    checks += [(function.__name__[6:], lambda function=function: checked("llama", function)) for function in (check_files, check_refusals)]
    return run_checks(checks)


if __name__ == "__main__":
    sys.exit(main())
