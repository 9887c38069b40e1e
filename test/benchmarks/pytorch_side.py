"""PyTorch's side of against_pytorch.py: one variant of one work, alive between its turns.

against_pytorch.py starts it and talks to it in lines of JSON. The first line on standard input says what to make ready:

    {"work": "smollm2-step", "compute": "float32", "threads": 2, "options": {...}, "settings": {...}}

compute is the type of matrix products: "bfloat16" is autocast.

The answer is {"ready": true} with versions. Each further line asks for one step; the answer holds its seconds, the numbers that the step
computed, and the peak of resident memory since the process began. Between steps the process is blocked on standard input; when that ends, so does
the process. Libraries may print: their standard output goes where standard error goes.
"""
import gc
import json
import os
import sys
import time

import torch
import torch.nn.functional as F


def peak_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))


def best_seconds(action, repeats):
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def ceilings(settings, options):
    """What this machine gives PyTorch: float32 products of 2048 x 2048, and z = x + 2 y over vectors that no cache holds."""
    size, length = 2048, 64 << 20
    a, b, c = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    x, y, z = torch.randn(length), torch.randn(length), torch.empty(length)

    def step():
        product = best_seconds(lambda: torch.mm(a, b, out=c), 10)
        triad = best_seconds(lambda: torch.add(x, y, alpha=2.0, out=z), 10)
        return {"matmul_gflops": 2 * size**3 / product / 1e9, "triad_gb_per_s": 3 * 4 * length / triad / 1e9}
    return step


def pretrained(folder):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


def adamw(model, settings):
    """The fused optimizer; only matrices decay, as the recipe says."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"], fused=True)


class PolicyBatch:
    """Rollouts as padded rows, and what the loss reads for each prediction: position t predicts token t + 1, so a row has width - 1 of them."""

    def __init__(self, path, sequences, width):
        with open(path) as file:
            lines = [json.loads(line) for line in file][:sequences]
        self.ids, self.mask = torch.zeros(sequences, width, dtype=torch.long), torch.zeros(sequences, width, dtype=torch.long)
        counts, self.advantages, self.old = (torch.zeros(sequences, width - 1) for _ in range(3))
        for row, line in enumerate(lines):
            tokens, first = line["prompt_ids"] + line["completion_ids"], len(line["prompt_ids"]) - 1
            self.ids[row, :len(tokens)] = torch.tensor(tokens)
            self.mask[row, :len(tokens)] = 1
            counts[row, first:len(tokens) - 1] = 1
            self.old[row, first:len(tokens) - 1] = torch.tensor(line["old_logprobs"])
            self.advantages[row, first:len(tokens) - 1] = line["advantage"]
        self.labels = self.ids[:, 1:].flatten()
        self.counts, self.advantages, self.old = counts.flatten(), self.advantages.flatten(), self.old.flatten()
        self.chosen = self.counts.nonzero()[:, 0]
        self.tokens = len(self.chosen)


def smollm2_step(settings, options):
    """One GRPO step. The head computes logits of every position, as most trainers do, or of completion tokens only ("select")."""
    model = pretrained(settings["model"])
    batch = PolicyBatch(settings["rollouts"], settings["sequences"], settings["tokens"])
    optimizer = adamw(model, settings)
    low, high = 1 - settings["clip_low"], 1 + settings["clip_high"]
    labels, advantages, old, weights = batch.labels, batch.advantages, batch.old, batch.counts
    if options["select"]:
        labels, advantages, old, weights = (values[batch.chosen] for values in (labels, advantages, old, weights))
    weights = weights / batch.tokens

    def policy_loss(logits):
        ratio = torch.exp(-F.cross_entropy(logits, labels, reduction="none") - old)
        return -(torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages) * weights).sum()

    trunk = model.model
    if options["compile"]:
        trunk, policy_loss = torch.compile(trunk), torch.compile(policy_loss)

    def step():
        optimizer.zero_grad(set_to_none=True)
        hidden = trunk(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
        hidden = hidden[:, :-1].flatten(0, 1)
        if options["select"]:
            hidden = hidden.index_select(0, batch.chosen)
        loss = policy_loss(model.lm_head(hidden))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_grad_norm"])
        optimizer.step()
        return {"loss": loss.item(), "grad_norm": norm.item(), "tokens": batch.tokens}
    return step


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="sdpa")).eval()


def gpt2_weights():
    state = gpt2().state_dict()
    state.pop("lm_head.weight")  # tied to the embedding
    return state


def random_batch(rows, width, words):
    """Every token is in the loss but the first of each row."""
    mask = torch.ones(rows, width, dtype=torch.bool)
    mask[:, 0] = False
    return {"input_ids": torch.randint(0, words, (rows, width)), "loss_mask": mask}


# What both sides read of a work, by the names that works.py knows.
DATA = {"gpt2": gpt2_weights,
        "gpt2-batch": lambda: random_batch(4, 64, 50257),
        "head": lambda: {"hidden": torch.randn(1, 2049, 1024), "head.weight": torch.randn(151936, 1024) * 0.02},
        "head-batch": lambda: random_batch(1, 2049, 151936),
        "logprobs-batch": lambda: random_batch(8, 256, 49152)}


def write_data(name, path):
    from safetensors.torch import save_file
    torch.manual_seed(0)
    save_file({tensor: values.contiguous() for tensor, values in DATA[name]().items()}, path)


def gpt2_step(settings, options):
    """Forward, mean cross-entropy of all tokens but the first of each row, backward, AdamW."""
    from safetensors.torch import load_file
    model = gpt2()
    model.load_state_dict(load_file(settings["weights"]), strict=False)
    with open(settings["rollouts"]) as file:
        ids = torch.tensor([line["prompt_ids"] + line["completion_ids"] for line in map(json.loads, file)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"],
                                  weight_decay=settings["weight_decay"], fused=True)
    forward = torch.compile(model) if options["compile"] else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = forward(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "tokens": ids[:, 1:].numel()}
    return step


def head(settings, options):
    """Linear, log-softmax, mean negative log-likelihood, and their gradients, of all positions but the last."""
    from safetensors.torch import load_file
    weights, ids = load_file(settings["weights"]), load_file(settings["batch"])["input_ids"]
    hidden = weights["hidden"][0, :-1].clone().requires_grad_()
    weight, labels = weights["head.weight"].requires_grad_(), ids[0, 1:]

    def loss_of(hidden, weight):
        return F.cross_entropy(hidden @ weight.T, labels)

    if options["compile"]:
        loss_of = torch.compile(loss_of)

    def step():
        hidden.grad = weight.grad = None
        loss = loss_of(hidden, weight)
        loss.backward()
        return {"loss": loss, "gradients": (hidden.grad, weight.grad)}

    def values(result):
        norm = torch.stack([gradient.double().norm() for gradient in result["gradients"]]).norm()
        return {"loss": result["loss"].item(), "grad_norm": norm.item()}
    return step, values


def logprobs(settings, options):
    """Log-probs of every token but the first of each row."""
    from safetensors.torch import load_file
    model = pretrained(settings["model"])
    ids = load_file(settings["batch"])["input_ids"]
    forward = torch.compile(model) if options["compile"] else model

    def step():
        with torch.no_grad():
            logits = forward(input_ids=ids, use_cache=False).logits[:, :-1]
            return torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])
    return step, lambda result: {"mean_logprob": result.double().mean().item()}


def adamw_alone(settings, options):
    """The fused optimizer on random gradients, after clipping where that is asked for."""
    parameters = [torch.nn.Parameter(values) for values in gpt2_weights().values()]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"],
                                  weight_decay=settings["weight_decay"], fused=True)

    def step():
        if settings["clip"]:
            torch.nn.utils.clip_grad_norm_(parameters, settings["clip"])
        optimizer.step()
    return step, lambda result: {"parameters": sum(parameter.numel() for parameter in parameters)}


# By the names that against_pytorch.py knows: (settings, options of the variant) -> a function that takes one step; it returns the values that the
# sides compare, or what a second function, which is not timed, makes them of.
WORKS = {"ceilings": ceilings, "smollm2-step": smollm2_step, "smollm2-packed": smollm2_step, "gpt2-step": gpt2_step, "head": head,
         "logprobs": logprobs, "adamw": adamw_alone, "adamw-clipped": adamw_alone}


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--write":
        return write_data(sys.argv[2], sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        print(json.dumps(values), file=answers, flush=True)

    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    made = WORKS[order["work"]](order["settings"], order["options"])
    step, values_of = made if isinstance(made, tuple) else (made, lambda result: result)
    answer(ready=True, torch=torch.__version__)
    for _ in sys.stdin:
        gc.collect()
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=order["compute"] == "bfloat16"):
            result = step()
        seconds = time.perf_counter() - start
        answer(seconds=seconds, values=values_of(result), peak_mib=peak_mib())


if __name__ == "__main__":
    main()
