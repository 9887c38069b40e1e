"""What is measured: for each work Graft's side, PyTorch's variants, the bar, and what must agree before a number counts.

A new work is an entry of WORKS here and a function of the same name in WORKS of pytorch_side.py; narrow() makes another with products in bfloat16.
"""
import array
import json
import math
import os
import random
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace

from sides import KERNELS, ROOT, Bare, GraftRun, GraftTrain, Trouble, say

EXAMPLE = os.path.join(ROOT, "examples", "smollm2")


@dataclass(frozen=True)
class Variant:
    """A way to write the work in PyTorch; `options` are those of its function in pytorch_side.py."""
    name: str
    options: dict
    compiles: bool = False


@dataclass(frozen=True)
class Limit:
    """Something else that is promised: `of(Graft's side, its median, the median of the bare arithmetic)` is at most `bar`."""
    what: str
    bar: float
    of: Callable


@dataclass(frozen=True)
class Work:
    """`need(model folder)` fails if a file is missing. `prepare(bench, folder)` returns Graft's side and the settings for PyTorch's. `agree`
    lists, for each of the first steps, by how much the two sides' values may differ: name -> (absolute, relative). `bare(bench)` is the
    arithmetic alone, as a side that takes turns, too."""
    what: str
    bar: float
    gib: float  # memory that each side takes, roughly
    variants: tuple[Variant, ...]
    need: Callable
    prepare: Callable
    agree: tuple[dict, ...]
    compute: str = "float32"  # of products: Graft's recipe, PyTorch's autocast
    limits: tuple[Limit, ...] = ()
    bare: Callable | None = None
    roofline: float | None = None  # the least share of the machine's ceilings, where the plan's FLOPs are what a step does


GRPO = {"lr": 1e-6, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "clip_grad_norm": 1.0, "clip_low": 0.2, "clip_high": 0.2}
GRPO_RECIPE = """[model]
graph = {graph}
weights = {weights}
[objective]
preset = "grpo"
aggregation = "token_mean"
clip_low = {clip_low}
clip_high = {clip_high}
kl = "none"
old_logprobs = "batch"
[batch]
sequences = {sequences}
tokens = {tokens}
[optimizer]
name = "adamw"
lr = {lr}
betas = {betas}
eps = {eps}
weight_decay = {weight_decay}
decay = "matrices"
clip_grad_norm = {clip_grad_norm}
"""


def need_smollm2(model):
    fetch = "Fetch it with tools/setup.sh --no-build && tools/fetch_smollm2.sh, or name its folder with --model"
    restore = "It is part of the repository: git status tells what became of it"
    for folder, name, todo in ((model, "model.safetensors", fetch), (model, "config.json", fetch), (EXAMPLE, "model.onnx", restore),
                               (EXAMPLE, "rollouts.jsonl", restore)):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise Trouble(f"there is no {os.path.relpath(path)}", todo)


def prepare_smollm2_step(bench, folder, packed=False):
    """The first 16 rollouts of the example, with the sampler's log-probs as old ones and advantages within each group: both sides read this
    file. `packed`: Graft's side computes each prompt once, in one row that just holds the step."""
    sequences = 16
    with open(os.path.join(EXAMPLE, "rollouts.jsonl")) as file:
        lines = [json.loads(next(file)) for _ in range(sequences)]
    groups = {}
    for line in lines:
        groups.setdefault(line["group_id"], []).append(line["reward"])
    rollouts = os.path.join(folder, "rollouts.jsonl")
    with open(rollouts, "w") as file:
        for line in lines:
            rewards = groups[line["group_id"]]
            advantage = (line["reward"] - statistics.fmean(rewards)) / (statistics.stdev(rewards) + 1e-4)
            print(json.dumps({"prompt_ids": line["prompt_ids"], "completion_ids": line["completion_ids"], "old_logprobs": line["sampler_logprobs"],
                              "advantage": advantage}), file=file)
    width = max(len(line["prompt_ids"]) + len(line["completion_ids"]) for line in lines)
    recipe = GRPO_RECIPE.format(graph=json.dumps(os.path.join(EXAMPLE, "model.onnx")),
                                weights=json.dumps(os.path.join(bench.model, "model.safetensors")), sequences=sequences, tokens=width, **GRPO)
    if packed:
        prompts = {tuple(line["prompt_ids"]) for line in lines}
        used = sum(map(len, prompts)) + sum(len(line["completion_ids"]) for line in lines)
        recipe = recipe.replace("[batch]", f"[batch]\npacked = {-(-used // 64) * 64}")
    return GraftTrain(bench, folder, recipe, rollouts), {"model": bench.model, "rollouts": rollouts, "sequences": sequences, "tokens": width, **GRPO}


GPT2_GRAPH = os.path.join(ROOT, "test", "benchmarks", "graphs", "gpt2-124m.onnx")
GPT2 = {"sequences": 4, "tokens": 64, "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
GPT2_RECIPE = """[model]
graph = {graph}
weights = {weights}
[model.names]
"lm_head.weight" = "transformer.wte.weight"
[objective]
preset = "sft"
[batch]
sequences = {sequences}
tokens = {tokens}
[optimizer]
lr = {lr}
betas = {betas}
eps = {eps}
weight_decay = {weight_decay}
decay = "all"
clip_grad_norm = 0
"""


def need_gpt2(model):
    if not os.path.isfile(GPT2_GRAPH):
        raise Trouble(f"there is no {os.path.relpath(GPT2_GRAPH)}", "It is part of the repository: git status tells what became of it")


def write_data(bench, name, path):
    """Random weights or batches that both sides read, written by PyTorch's side."""
    say(f"{name}: writing {os.path.basename(path)}")
    made = subprocess.run([bench.python, os.path.join(ROOT, "test", "benchmarks", "pytorch_side.py"), "--write", name, path], capture_output=True,
                          text=True, check=False)
    if made.returncode:
        raise Trouble(f"PyTorch could not write {name}: {made.stderr.strip()[-300:]}", "--python must have torch, transformers and safetensors")


def prepare_gpt2_step(bench, folder):
    """Random weights; four rows of random tokens, all but the first of each in the loss."""
    weights, rollouts = os.path.join(folder, "model.safetensors"), os.path.join(folder, "rollouts.jsonl")
    write_data(bench, "gpt2", weights)
    draw = random.Random(0)
    with open(rollouts, "w") as file:
        for _ in range(GPT2["sequences"]):
            ids = [draw.randrange(50257) for _ in range(GPT2["tokens"])]
            print(json.dumps({"prompt_ids": ids[:1], "completion_ids": ids[1:]}), file=file)
    recipe = GPT2_RECIPE.format(graph=json.dumps(GPT2_GRAPH), weights=json.dumps(weights), **GPT2)
    return GraftTrain(bench, folder, recipe, rollouts), {"weights": weights, "rollouts": rollouts, **GPT2}


def prepare_adamw(bench, folder, clip=0):
    """The optimizer on the gradients of one GPT-2 step, again and again."""
    weights, batch = os.path.join(folder, "model.safetensors"), os.path.join(folder, "batch.safetensors")
    write_data(bench, "gpt2", weights)
    write_data(bench, "gpt2-batch", batch)
    recipe = GPT2_RECIPE.format(graph=json.dumps(GPT2_GRAPH), weights=json.dumps(weights), **GPT2).replace("clip_grad_norm = 0", f"clip_grad_norm = {clip}")
    graft = GraftRun(bench, folder, recipe, batch, "apply", lambda side, answer, out: {"parameters": side.plan["trained_parameters"]})
    return graft, {**GPT2, "clip": clip}


HEAD_GRAPH = os.path.join(ROOT, "test", "benchmarks", "graphs", "head.mlir")
HEAD = {"tokens": 2048, "width": 1024, "words": 151936}
HEAD_EXTRA = 0.1  # GiB beyond the gradients
HEAD_RECIPE = """[model]
graph = {graph}
weights = {weights}
[objective]
preset = "sft"
[batch]
sequences = 1
tokens = 2049
[memory]
budget = "{budget}B"
"""


def need_head(model):
    if not os.path.isfile(KERNELS):
        raise Trouble(f"there is no {os.path.relpath(KERNELS)}, which measures the bare products", "Build it: ninja -C build kernel_benchmark")


def prepare_head(bench, folder):
    """The budget leaves 0.1 GiB beside weights (and their working copies), gradients and the two moments, which this work does not use."""
    weights, batch = os.path.join(folder, "model.safetensors"), os.path.join(folder, "batch.safetensors")
    write_data(bench, "head", weights)
    write_data(bench, "head-batch", batch)
    parameters = 4 * HEAD["width"] * (HEAD["words"] + HEAD["tokens"] + 1)
    recipe = HEAD_RECIPE.format(graph=json.dumps(HEAD_GRAPH), weights=json.dumps(weights), budget=int((4 if bench.compute == "float32" else 4.5) * parameters + HEAD_EXTRA * 2**30))
    graft = GraftRun(bench, folder, recipe, batch, "accumulate", lambda side, answer, out: {"loss": answer["loss"], "grad_norm": answer["grad_norm"]})
    return graft, {"weights": weights, "batch": batch}


def head_limits(products):
    return (Limit("GiB beyond the gradients", HEAD_EXTRA, lambda graft, own, bare: graft.plan["arena_bytes"] / 2**30),
            Limit("of the bare products' seconds", products, lambda graft, own, bare: own / bare))


LOGPROBS_RECIPE = """[model]
graph = {graph}
weights = {weights}
[objective]
preset = "sft"
[batch]
sequences = 8
tokens = 256
"""


def mean_logprob(side, answer, out):
    """Of a file with one float32 tensor; the first of each row is that of no prediction, and 0."""
    with open(out, "rb") as file:
        data = file.read()
    begin = 8 + int.from_bytes(data[:8], "little")
    values = array.array("f", data[begin:])
    return {"mean_logprob": math.fsum(values) / (8 * 255)}


def prepare_logprobs(bench, folder):
    batch, weights = os.path.join(folder, "batch.safetensors"), os.path.join(bench.model, "model.safetensors")
    write_data(bench, "logprobs-batch", batch)
    recipe = LOGPROBS_RECIPE.format(graph=json.dumps(os.path.join(EXAMPLE, "model.onnx")), weights=json.dumps(weights))
    return GraftRun(bench, folder, recipe, batch, "logprobs", mean_logprob), {"model": bench.model, "batch": batch}


EAGER_AND_COMPILED = (Variant("eager", {"compile": False}), Variant("compiled", {"compile": True}, compiles=True))

SMOLLM2_STEP = Work(
    what="one GRPO step of SmolLM2-135M on 16 padded completions, float32",
    bar=0.50,
    gib=6,
    variants=(Variant("all logits", {"select": False, "compile": False}),
              Variant("selected logits", {"select": True, "compile": False}),
              Variant("selected logits, compiled", {"select": True, "compile": True}, compiles=True)),
    need=need_smollm2,
    prepare=prepare_smollm2_step,
    # The second step has seen the optimizer, which moves the loss by 0.01.
    agree=({"tokens": (0, 0), "loss": (2e-5, 5e-4), "grad_norm": (0, 1e-3)}, {"tokens": (0, 0), "loss": (2e-4, 0), "grad_norm": (0, 1e-2)}))

WORKS = {
    "smollm2-step": SMOLLM2_STEP,
    "smollm2-packed": replace(SMOLLM2_STEP, what="the same step, Graft's side in one packed row with shared prompts", bar=0.20,
                              prepare=lambda bench, folder: prepare_smollm2_step(bench, folder, packed=True)),
    "gpt2-step": Work(
        what="one training step of GPT-2 124M with random weights, 4 x 64 tokens, float32",
        bar=0.52,
        gib=4,
        variants=EAGER_AND_COMPILED,
        need=need_gpt2,
        prepare=prepare_gpt2_step,
        agree=({"tokens": (0, 0), "loss": (2e-5, 0)}, {"tokens": (0, 0), "loss": (2e-4, 0)}),
        roofline=0.80),
    "head": Work(
        what="a head alone, 2,048 tokens by 151,936 words, forward and backward, float32",
        bar=0.47,
        gib=4,
        variants=EAGER_AND_COMPILED,
        need=need_head,
        prepare=prepare_head,
        agree=({"loss": (0, 1e-5), "grad_norm": (0, 1e-4)},),
        limits=head_limits(1.06),
        bare=lambda bench: Bare(bench, "head" if bench.compute == "float32" else "head-bfloat16")),
    "logprobs": Work(
        what="log-probs of SmolLM2-135M, 8 x 256 tokens, float32",
        bar=0.46,
        gib=3,
        variants=EAGER_AND_COMPILED,
        need=need_smollm2,
        prepare=prepare_logprobs,
        agree=({"mean_logprob": (0, 1e-5)},)),
    "adamw": Work(
        what="AdamW on 124M parameters in the shapes of GPT-2",
        bar=1.03,
        gib=2,
        variants=(Variant("fused", {}),),
        need=need_gpt2,
        prepare=prepare_adamw,
        agree=({"parameters": (0, 0)},)),
    "adamw-clipped": Work(
        what="clipping by the global norm and AdamW on 124M parameters in the shapes of GPT-2",
        bar=0.78,
        gib=2,
        variants=(Variant("fused", {}),),
        need=need_gpt2,
        prepare=lambda bench, folder: prepare_adamw(bench, folder, clip=1.0),
        agree=({"parameters": (0, 0)},)),
}

NARROW = "-bfloat16"  # what such a work's name ends in


def narrow(work, bar, limits=()):
    """The same work with products in bfloat16. The two sides round in other places: they agree to a few roundings only, and gradients to what
    a few tokens make whose ratio the clip takes on one side and not on the other."""
    bounds = {"tokens": (0, 0), "grad_norm": (0, 0.2)}
    agree = tuple({name: bounds.get(name, (2e-2, 5e-2)) for name in step} for step in work.agree)
    return replace(work, what=work.what.removesuffix(", float32") + ", products in bfloat16", bar=bar, agree=agree, compute="bfloat16", limits=limits)


WORKS |= {
    "smollm2-step" + NARROW: narrow(WORKS["smollm2-step"], 0.68),
    "smollm2-packed" + NARROW: narrow(WORKS["smollm2-packed"], 0.28),
    "gpt2-step" + NARROW: replace(narrow(WORKS["gpt2-step"], 0.78), roofline=0.75),
    "head" + NARROW: narrow(WORKS["head"], 0.53, head_limits(1.12)),
    "logprobs" + NARROW: narrow(WORKS["logprobs"], 0.68),
}
