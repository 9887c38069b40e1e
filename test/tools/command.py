"""What the checks of the command line share: running graft, writing a recipe."""
import json
import os
import random
import subprocess

from safetensors.numpy import load_file

RECIPE = """[model]
graph = "{graph}"
{weights}
[objective]
preset = "grpo"
advantages = "grpo"
aggregation = "token_mean"
clip_low = 0.2
clip_high = 0.2
kl = "none"
old_logprobs = "{old_logprobs}"
[batch]
sequences = {sequences}
tokens = {tokens}
[optimizer]
lr = {lr}
betas = [0.9, 0.95]
eps = 1e-8
weight_decay = 0.1
decay = "matrices"
clip_grad_norm = 1.0
state = "{state}"
[precision]
parameters = "{parameters}"
compute = "{compute}"
"""


class Failure(Exception):
    pass


def run(program, *arguments, timeout=600, env=None):
    """The finished process; never fails because of the exit code."""
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})


def graft(program, *arguments, **options):
    """The finished process of a call that must succeed."""
    done = run(program, *arguments, **options)
    if done.returncode:
        raise Failure(f"graft {arguments[0]} ended with exit code {done.returncode}: {done.stderr.strip()[-800:] or done.stdout.strip()[-800:]}")
    return done


def write_recipe(path, graph, weights, sequences, tokens, lr=1e-6, old_logprobs="batch", compute="float32", state="float32", parameters="float32"):
    """`weights` may be None: compiling needs none."""
    line = f'weights = "{os.path.abspath(weights)}"' if weights else ""
    with open(path, "w") as file:
        file.write(RECIPE.format(graph=os.path.abspath(graph), weights=line, sequences=sequences, tokens=tokens, lr=lr, old_logprobs=old_logprobs,
                                 compute=compute, state=state, parameters=parameters))


def accumulate(program, compiled, batch, weights, out, *more):
    """Everything that one run of the entry accumulate gives for the arrays of a file: loss, log-probs, metrics, gradients."""
    graft(program, "run", compiled, "--entry", "accumulate", "--gradients", "--batch", batch, "--weights", weights, "--out", out, *more)
    return load_file(out)


def write_rollouts(path, count, vocabulary, seed):
    """Random completions of 2 to 10 tokens, four in a group, each with a prompt of its own of 2 to 6."""
    draw = random.Random(seed)
    with open(path, "w") as file:
        for index in range(count):
            ids = lambda low, high: [draw.randrange(1, vocabulary) for _ in range(draw.randint(low, high))]
            file.write(json.dumps({"prompt_ids": ids(2, 6), "completion_ids": ids(2, 10), "reward": draw.randint(0, 2) / 2, "group_id": index // 4}) + "\n")


def run_checks(checks):
    """Runs (name, function) pairs, a line for each; a function returns what to say or raises Failure. The exit code."""
    failed = 0
    for name, check in checks:
        try:
            print(f"ok   {name}: {check()}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"FAIL {name}: {failure}", flush=True)
    return 1 if failed else 0
