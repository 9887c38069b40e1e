#!/usr/bin/env python3
"""Parameters updated in the backward pass: the bits of a step whose optimizer comes last, without a block for gradients.

    in_backward.py GRAFT FOLDER-OF-MODELS EXAMPLE-FOLDER [--only NAME,NAME]

For each model and precision, whatever the budget: no gradient block, predicted is planned and allocated, the same loss, log-probs, norm and new
weights as by accumulate and apply. `verify` holds; what needs gradients is refused, and so is a step of several packed rows. Of
SmolLM2-135M (no weights needed) the block is 513 MiB, which are no longer needed but for the embedding's gradient and for what lay there.
"""
import argparse
import json
import sys
import tempfile

from command import Failure, graft, run, run_checks, write_recipe, write_rollouts
from safetensors.numpy import load_file

PRECISIONS = ({}, {"compute": "bfloat16", "state": "8bit"}, {"parameters": "bfloat16", "state": "bfloat16"})
MIB = 1 << 20


def recipe(path, graph, weights, rows, width, in_backward, clip=0, optimizer="", packed=0, budget=None, **more):
    """`optimizer`: further lines of the table."""
    write_recipe(path, graph, weights, rows, width, lr=1e-3, **more)
    with open(path) as file:
        text = file.read()
    text = text.replace("clip_grad_norm = 1.0", f"clip_grad_norm = {clip}\nin_backward = {str(in_backward).lower()}\n{optimizer}")
    if packed:
        text = text.replace("[batch]", f"[batch]\npacked = {packed}")
    with open(path, "w") as file:
        file.write(text + (f'[memory]\nbudget = "{budget}B"\n' if budget else ""))
    return path


def device_bytes(summary):
    return sum(summary[key] for key in ("parameter_bytes", "gradient_bytes", "state_bytes", "working_bytes", "arena_bytes", "constant_bytes"))


def compiled(program, work, path):
    return json.loads(graft(program, "compile", path, "-o", f"{work}/p.graft", "--json", "--quiet").stdout)


def step(program, work, folder, name):
    out = f"{work}/{name}.safetensors"
    graft(program, "run", f"{work}/{name}.graft", "--entry", "step", "--batch", f"{folder}/batch.safetensors", "--weights", f"{folder}/weights.safetensors",
          "--out", out)
    return load_file(out)


def same_bits(what, want, got):
    if want.keys() != got.keys() or not any(name.startswith("parameter.") for name in got):
        raise Failure(f"{what}: other results: {sorted(want.keys() ^ got.keys())}")
    different = [name for name in want if want[name].tobytes() != got[name].tobytes()]
    if different:
        raise Failure(f"{what}: {len(different)} of {len(want)} differ, {different[:3]}")


def check(program, folder, precision, work):
    rows, width = load_file(f"{folder}/batch.safetensors")["input_ids"].shape
    files = [f"{folder}/model.onnx", f"{folder}/weights.safetensors", rows, width]
    graft(program, "compile", recipe(f"{work}/after.toml", *files, False, **precision), "-o", f"{work}/after.graft")
    want = step(program, work, folder, "after")
    within = recipe(f"{work}/within.toml", *files, True, **precision)
    points = json.loads(graft(program, "plan", within, "--budgets", 5, "--json").stdout)["budgets"]
    for point in points:
        planned = compiled(program, work, recipe(f"{work}/p.toml", *files, True, budget=point["budget"], **precision))
        if planned["gradient_bytes"] or not device_bytes(planned) == point["device_bytes"] <= point["budget"]:
            raise Failure(f"budget {point['budget']}: predicted {point['device_bytes']}, planned {device_bytes(planned)}")
        same_bits(f"budget {point['budget']}", want, step(program, work, folder, "p"))
    return f"{len(want)} results, arena {points[0]['arena_bytes']} to {points[-1]['arena_bytes']} bytes"


def check_allocated(program, folder, work):
    planned = compiled(program, work, recipe(f"{work}/p.toml", f"{folder}/model.onnx", f"{folder}/weights.safetensors", 4, 16, True,
                                             old_logprobs="current", compute="bfloat16", state="8bit"))
    write_rollouts(f"{work}/rollouts.jsonl", 4, 100, seed=3)
    graft(program, "train", f"{work}/p.graft", "--rollouts", f"{work}/rollouts.jsonl", "--steps", 1, "--out", f"{work}/run")
    with open(f"{work}/run/metrics.jsonl") as file:
        memory = json.loads(file.readline())["memory"]
    expected = {"parameters": "parameter_bytes", "gradients": "gradient_bytes", "optimizer_state": "state_bytes", "working_copies": "working_bytes",
                "arena": "arena_bytes"}
    if any(memory[name] != planned[key] for name, key in expected.items()):
        raise Failure(f"allocated {memory}, planned {planned}")
    return f"{memory['arena']} bytes of arena, {memory['gradients']} of gradients"


def refused(program, what, code, *arguments):
    done = run(program, *arguments)
    if done.returncode != code or any(part not in done.stderr for part in what):
        raise Failure(f"{arguments[:2]}: exit code {done.returncode}, expected {code} and {what}: {done.stderr[-800:]}")


def check_command_line(program, folder, work):
    rows, width = load_file(f"{folder}/batch.safetensors")["input_ids"].shape
    files = [f"{folder}/model.onnx", f"{folder}/weights.safetensors", rows, width]
    wrong = recipe(f"{work}/wrong.toml", *files, True, clip=0.5, optimizer='on_nonfinite = "skip"')
    refused(program, ["optimizer.clip_grad_norm and optimizer.in_backward = true (line ", "optimizer.on_nonfinite and optimizer.in_backward",
                      "set clip_grad_norm = 0, or in_backward = false", f"{wrong}:"], 2, "compile", wrong, "-o", f"{work}/wrong.graft")
    for state in ("float32", "8bit"):
        graft(program, "verify", recipe(f"{work}/p.toml", *files, True, state=state))
    graft(program, "compile", f"{work}/p.toml", "-o", f"{work}/p.graft")
    arguments = ["run", f"{work}/p.graft", "--batch", f"{folder}/batch.safetensors", "--out", f"{work}/out.safetensors"]
    for entry in ("accumulate", "apply"):
        refused(program, ["no gradients are left", "use --entry step"], 2, *arguments, "--entry", entry)
    refused(program, ["--gradients: ", "use --interpret"], 2, *arguments, "--entry", "step", "--gradients")
    graft(program, *arguments, "--entry", "accumulate", "--gradients", "--interpret")
    graft(program, *arguments, "--entry", "step", "--repeat", 2)
    explained = graft(program, "explain", f"{work}/p.graft", "model.norm.weight").stdout
    if "gradient in the arena until the update" not in explained or "gradient read by step" not in explained:
        raise Failure(f"explain does not say what becomes of a gradient: {explained}")
    kept = json.loads(graft(program, "explain", f"{work}/p.graft", "recompute", "--json").stdout)["entries"][0]["kept"]
    if not kept or any(family["name"] == "gradient" for family in kept):
        raise Failure(f"explain says that gradients are kept for the backward pass, or nothing: {kept}")
    if "none: each is in the arena until its parameter is updated" not in graft(program, "plan", f"{work}/p.toml").stdout:
        raise Failure("plan does not say where gradients are")
    return "refused and explained"


def check_packed(program, folder, work):
    """One row gives the bits of accumulate and apply; two are refused before anything is updated."""
    rows, width = load_file(f"{folder}/batch.safetensors")["input_ids"].shape
    files = [f"{folder}/model.onnx", f"{folder}/weights.safetensors", rows, width]
    for name, in_backward in (("after", False), ("within", True)):
        graft(program, "compile", recipe(f"{work}/p.toml", *files, in_backward, packed=64), "-o", f"{work}/{name}.graft")
    same_bits("packed", step(program, work, folder, "after"), step(program, work, folder, "within"))
    graft(program, "compile", recipe(f"{work}/p.toml", *files, True, packed=width), "-o", f"{work}/p.graft")
    refused(program, [f"packed rows of {width} tokens, but parameters are updated in the backward pass of one", "a larger batch.packed"], 3,
            "run", f"{work}/p.graft", "--entry", "step", "--batch", f"{folder}/batch.safetensors", "--out", f"{work}/out.safetensors")
    return "one row, no more"


def check_objectives(program, folder, work):
    """A formula that looks at whole sequences stands between two loops over tokens."""
    rows, width = load_file(f"{folder}/batch.safetensors")["input_ids"].shape
    for name, in_backward in (("after", False), ("within", True)):
        path = recipe(f"{work}/p.toml", f"{folder}/model.onnx", f"{folder}/weights.safetensors", rows, width, in_backward)
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace('preset = "grpo"', 'preset = "gspo"').replace('aggregation = "token_mean"\n', ""))
        graft(program, "compile", path, "-o", f"{work}/{name}.graft")
    same_bits("gspo", step(program, work, folder, "after"), step(program, work, folder, "within"))
    return "gspo"


def check_savings(program, example, work):
    """Of the smallest and of the fastest plan, beside the optimizer that comes last."""
    def points(in_backward):
        path = recipe(f"{work}/r.toml", f"{example}/model.onnx", None, 16, 144, in_backward, packed=1024)
        return [point["device_bytes"] / MIB for point in json.loads(graft(program, "plan", path, "--budgets", 2, "--json").stdout)["budgets"]]
    after, within = points(False), points(True)
    saved = [one - other for one, other in zip(after, within)]
    if min(saved) < 390:
        raise Failure(f"{saved} MiB less: {after} MiB, {within} MiB")
    return ", ".join(f"{one:.0f} instead of {other:.0f} MiB" for one, other in zip(within, after))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("models")
    parser.add_argument("example")
    parser.add_argument("--only", default="llama,gpt2,gpt_neox,gemma3_text")
    arguments = parser.parse_args()

    def checked(function, *more):
        def call():
            with tempfile.TemporaryDirectory() as work:
                return function(arguments.graft, *more, work)
        return call

    names = arguments.only.split(",")
    checks = [(f"{name}, {precision or 'float32'}", checked(check, f"{arguments.models}/{name}", precision)) for name in names for precision in PRECISIONS]
    checks += [("what is allocated", checked(check_allocated, f"{arguments.models}/llama")), ("what cannot be", checked(check_command_line, f"{arguments.models}/llama")), ("packed rows", checked(check_packed, f"{arguments.models}/llama")),
               ("two loops", checked(check_objectives, f"{arguments.models}/llama")), ("SmolLM2", checked(check_savings, arguments.example))]
    return run_checks(checks)


if __name__ == "__main__":
    sys.exit(main())
