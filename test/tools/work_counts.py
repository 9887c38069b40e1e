#!/usr/bin/env python3
"""How much work a step is, counted in the program: FLOPs, bytes that kernels move, instructions, memory. No seconds.

    work_counts.py GRAFT EXAMPLE-FOLDER

Compiles the example's graph (SmolLM2-135M, no weights needed) for padded and for packed rows, in float32 and in bfloat16. Products must be those
of the mathematics and no more; everything else has a bound that the last change to it reached: who lowers one may lower its bound, who
passes one says why.
"""
import json
import sys
import tempfile

from command import Failure, graft, run_checks, write_recipe

ROWS, WIDTH, PLACES = 16, 102, 640
LAYERS, HIDDEN, KV, INNER, VOCABULARY = 30, 576, 192, 1536, 49152
# per case, of the entry accumulate: bytes that element-wise kernels move (GB), calls of them, of copies, bytes of arena (MiB)
BOUNDS = {
    "padded, float32": (7.78, 539, 163, 1292),
    "padded, bfloat16": (7.61, 659, 163, 1132),
    "packed, float32": (3.44, 539, 163, 339),
    "packed, bfloat16": (3.29, 660, 163, 315),
}


def check_products(entry, places):
    """Forward once and backward twice: the layers' products exactly so; the head's on all tokens, in whole chunks."""
    layers = 3 * 2 * places * LAYERS * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV + 3 * HIDDEN * INNER)
    head = 3 * 2 * ROWS * WIDTH * HIDDEN * VOCABULARY
    found = sum(line["flops"] for line in entry["instructions"] if line["kind"] == "gemm" and "lm_head" not in line["origin"])
    if found != layers:
        raise Failure(f"the layers' products take {found / layers:.4f} times the FLOPs of the mathematics")
    found = (entry["categories"]["gemm"]["flops"] - found) / head
    if not 1 <= found <= 1.25:
        raise Failure(f"the head's products take {found:.4f} times the FLOPs of the mathematics")


def check(program, example, work, name):
    rows, compute = name.split(", ")
    recipe = f"{work}/recipe.toml"
    write_recipe(recipe, f"{example}/model.onnx", None, ROWS, WIDTH, compute=compute)
    with open(recipe) as file:
        text = file.read()
    with open(recipe, "w") as file:
        file.write(text.replace("[batch]", f"[batch]\npacked = {PLACES}" if rows == "packed" else "[batch]") + '[memory]\nbudget = "1TiB"\n')
    graft(program, "compile", recipe, "-o", f"{work}/p.graft", "--quiet")
    entries = json.loads(graft(program, "explain", f"{work}/p.graft", "instructions", "--json").stdout)["entries"]
    entry = next(entry for entry in entries if entry["entry"] == "accumulate")
    check_products(entry, PLACES if rows == "packed" else ROWS * WIDTH)
    kinds = entry["categories"]
    arena = next(entry["arena_bytes"] for entry in json.loads(graft(program, "explain", f"{work}/p.graft", "--json").stdout)["entries"]
                 if entry["name"] == "accumulate")
    if kinds["attention"]["instructions"] != 2 * LAYERS:
        raise Failure(f"{kinds['attention']['instructions']} calls of attention")
    found = (kinds["element-wise"]["bytes"] / 1e9, kinds["element-wise"]["instructions"], kinds["copy"]["instructions"], arena / 2**20)
    for what, value, bound in zip(("GB moved by kernels", "kernel calls", "copies", "MiB of arena"), found, BOUNDS[name]):
        if value > bound:
            raise Failure(f"{value:.4g} {what}, at most {bound}: {found}")
    return f"{found[0]:.2f} GB moved by {found[1]} kernels, {found[2]} copies, {found[3]:.0f} MiB of arena"


def main():
    program, example = sys.argv[1:]

    def checked(name):
        with tempfile.TemporaryDirectory() as work:
            return check(program, example, work, name)
    return run_checks([(name, lambda name=name: checked(name)) for name in BOUNDS])


if __name__ == "__main__":
    sys.exit(main())
