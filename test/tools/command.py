"""What the checks of the command line share: running graft, writing a recipe."""
import os
import subprocess

RECIPE = """[model]
graph = "{graph}"
weights = "{weights}"
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


def write_recipe(path, graph, weights, sequences, tokens, lr=1e-6, old_logprobs="batch"):
    with open(path, "w") as file:
        file.write(RECIPE.format(graph=os.path.abspath(graph), weights=os.path.abspath(weights), sequences=sequences, tokens=tokens, lr=lr, old_logprobs=old_logprobs))
