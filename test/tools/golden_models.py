#!/usr/bin/env python3
"""Whole models against PyTorch's stored numbers: log-probs, loss and every gradient.

    golden_models.py GRAFT FOLDER-OF-MODELS [--interpret] [--variants] [--only NAME,NAME]

Each model folder (test/data/models/README: model.onnx, weights, batch, expected, info.json) is compiled with one generic recipe
and run once. Bounds, per model: log-probs of real tokens 1e-5 absolute, loss 1e-5 relative, every gradient
|g - e| / (|e| + 1e-3 |all gradients|) at most 2e-5. That is PyTorch's own float32 error times about 10, and tighter than what Graft promises.
--variants: also the same model by other exporters (variants/*.onnx) where these keep the parameters' names.
"""
import argparse
import json
import os
import sys
import tempfile

import numpy as np
from command import Failure, accumulate, graft, write_recipe
from safetensors.numpy import load_file

LOGPROB, LOSS, GRADIENT = 1e-5, 1e-5, 2e-5


def relative(value, expected):
    return abs(value - expected) / max(abs(expected), 1e-3)


def gradients_of(out, expected, tied):
    """(name, gradient, expected) for every expected gradient; a tied parameter goes under any of its names."""
    for key in (k for k in expected if k.startswith("grad.")):
        names = [key] + ["grad." + alias for alias in tied.get(key[5:], [])]
        found = next((name for name in names if name in out), None)
        if not found:
            raise Failure(f"there is no {key}")
        if out[found].shape != expected[key].shape:
            raise Failure(f"{found} has shape {out[found].shape}, expected {expected[key].shape}")
        yield found, out[found].astype(np.float64), expected[key].astype(np.float64)


def compare(out, folder):
    expected, batch = load_file(f"{folder}/expected.safetensors"), load_file(f"{folder}/batch.safetensors")
    with open(f"{folder}/info.json") as file:
        tied = json.load(file).get("tied", {})
    real = batch["attention_mask"][:, 1:].astype(bool)
    logprobs = out["logprobs"].astype(np.float64)
    if np.any(logprobs[:, 0] != 0):
        raise Failure("logprobs[:, 0] is not 0")
    difference = np.abs(logprobs[:, 1:] - expected["logprobs"])[real].max()
    loss = relative(float(out["loss"]), float(expected["grpo_loss"].item()))
    triples = list(gradients_of(out, expected, tied))
    floor = 1e-3 * np.sqrt(sum(np.square(e).sum() for _, _, e in triples))
    errors = {name: np.linalg.norm(g - e) / (np.linalg.norm(e) + floor) for name, g, e in triples}
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    norm = relative(float(out["grad_norm"]), float(expected["grad_norm"].item()))
    text = f"logprobs {difference:.1e}  loss {loss:.1e}  grad_norm {norm:.1e}  gradients {errors[worst]:.1e} ({worst})"
    if not (difference <= LOGPROB and loss <= LOSS and norm <= GRADIENT and errors[worst] <= GRADIENT):
        raise Failure(text)
    return text


def check(program, folder, model, interpret):
    batch = load_file(f"{folder}/batch.safetensors")
    rows, width = batch["input_ids"].shape
    with tempfile.TemporaryDirectory() as work:
        write_recipe(f"{work}/recipe.toml", graph=model, weights=f"{folder}/weights.safetensors", sequences=rows, tokens=width)
        graft(program, "compile", f"{work}/recipe.toml", "-o", f"{work}/p.graft")
        out = accumulate(program, f"{work}/p.graft", f"{folder}/batch.safetensors", f"{folder}/weights.safetensors", f"{work}/out.safetensors",
                         *["--interpret"] * interpret)
        return compare(out, folder)


def keeps_names(variant):
    """Optimizing exporters transpose linear weights and give them new names; these are bound by value, not by name."""
    return "optimized" not in variant and "torchscript" not in variant


def models_of(folder, variants):
    yield f"{folder}/model.onnx"
    if variants and os.path.isdir(f"{folder}/variants"):
        yield from (f"{folder}/variants/{name}" for name in sorted(os.listdir(f"{folder}/variants")) if keeps_names(name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graft")
    parser.add_argument("models")
    parser.add_argument("--interpret", action="store_true")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--only")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else sorted(os.listdir(args.models))
    folders = [f"{args.models}/{name}" for name in names if os.path.exists(f"{args.models}/{name}/expected.safetensors")]
    if not folders:
        sys.exit(f"golden_models.py: no model in {args.models}")
    failed = 0
    for folder in folders:
        for model in models_of(folder, args.variants):
            try:
                verdict, text = "ok  ", check(args.graft, folder, os.path.abspath(model), args.interpret)
            except Failure as failure:
                verdict, text, failed = "FAIL", str(failure), failed + 1
            print(f"{verdict} {os.path.relpath(model, args.models):44s} {text}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
