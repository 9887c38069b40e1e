#!/usr/bin/env python3
"""A head alone needs, beside the gradients, one chunk of logits; the budget says how large that is.

    head.py GRAFT GRAPH

GRAPH is test/benchmarks/graphs/head.mlir: 2,049 tokens, 1,024 numbers each, 151,936 words. Nothing is run: `graft plan` says what would be
allocated, exactly.
"""
import argparse
import json
import os
import struct
import sys
import tempfile

from command import Failure, graft, run_checks

TOKENS, WIDTH, WORDS = 2049, 1024, 151936
PARAMETERS = 4 * WIDTH * (WORDS + TOKENS)
STATE = 4 * PARAMETERS  # weights, gradients, two moments
MIB = 1 << 20
WORDS_TEXT = """objective words
input logits : vocabulary
p = softmax(logits)
top = where(logits >= vocab_kth_largest(logits, 3), p, 0)
mass = vocab_sum(top)
loss = token_mean(-at_token(log_softmax(logits)) - vocab_sum(p * log_softmax(logits)) + vocab_logsumexp(2 * logits) - log(mass)
                  + vocab_sum(where(top > 0, p / mass * log(p / mass), 0)))
"""


def write_weights(path):
    """Zeros that take no room on the disk."""
    size, header = 4 * WIDTH * TOKENS, {}
    header["hidden"] = {"dtype": "F32", "shape": [1, TOKENS, WIDTH], "data_offsets": [0, size]}
    header["head.weight"] = {"dtype": "F32", "shape": [WORDS, WIDTH], "data_offsets": [size, PARAMETERS]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + PARAMETERS)


def expect(holds, text):
    if not holds:
        raise Failure(text)


class Head:
    def __init__(self, program, graph, work):
        self.program, self.work = program, work
        write_weights(f"{work}/weights.safetensors")
        self.recipe = (f'[model]\ngraph = "{os.path.abspath(graph)}"\nweights = "weights.safetensors"\n[objective]\npreset = "sft"\n'
                       f"[batch]\nsequences = 1\ntokens = {TOKENS}\n")

    def write(self, budget=None, more=""):
        with open(f"{self.work}/recipe.toml", "w") as file:
            file.write(self.recipe + (f'[memory]\nbudget = "{budget}B"\n' if budget else "") + more)

    def plan(self, budget=None, *flags):
        self.write(budget)
        return json.loads(graft(self.program, "plan", f"{self.work}/recipe.toml", "--json", *flags).stdout)

    def accumulate(self, plan):
        return next(entry for entry in plan["entries"] if entry["name"] == "accumulate")

    def check_memory(self):
        """0.1 GiB beside the gradients; of both and one chunk at most 5 % more."""
        plan = self.plan(int(STATE + 0.1 * 1024 * MIB))
        entry = self.accumulate(plan)
        chunk = entry["chunk_tokens"] * WORDS * 4
        expect(entry["chunk_tokens"] == 160, f"{entry['chunk_tokens']} tokens at a time")
        expect(plan["arena_bytes"] <= 0.1 * 1024 * MIB, f"the arena has {plan['arena_bytes']} bytes")
        expect(plan["gradient_bytes"] + plan["arena_bytes"] <= 1.05 * (PARAMETERS + chunk), "more than gradients and one chunk")
        return f"{entry['chunk_tokens']} tokens, {plan['arena_bytes'] / MIB:.1f} MiB"

    def check_bfloat16(self):
        """The same with products in bfloat16: the gradient of a chunk's logits lies where the logits lay, but for GPUs."""
        found = {}
        for target in ("x86-64-v3", "cuda:sm_80"):
            self.write(int(STATE + PARAMETERS / 2 + 0.1 * 1024 * MIB), '[precision]\ncompute = "bfloat16"\n')
            done = graft(self.program, "compile", f"{self.work}/recipe.toml", "-o", f"{self.work}/p.graft", "--target", "x86-64-v3", "--target", target,
                         "--dump", f"lower={self.work}/programs.mlir", "--json")
            with open(f"{self.work}/programs.mlir", encoding="utf-8") as file:
                found[target] = self.accumulate(json.loads(done.stdout))["chunk_tokens"], f"bf16, [{2 * WORDS}], 1, align" in file.read()
        expect(found == {"x86-64-v3": (160, True), "cuda:sm_80": (64, False)}, str(found))
        return f"{found['x86-64-v3'][0]} tokens, for GPUs {found['cuda:sm_80'][0]}"

    def check_distribution(self):
        """A formula that makes much of the distribution needs no more memory than the log-prob alone."""
        with open(f"{self.work}/words.objective", "w") as file:
            file.write(WORDS_TEXT)
        plain, self.recipe = self.recipe, self.recipe.replace('preset = "sft"', 'file = "words.objective"')
        plan = self.plan(int(STATE + 0.1 * 1024 * MIB))
        self.recipe = plain
        entry = self.accumulate(plan)
        expect(entry["chunk_tokens"] == 160 and entry["flops"] == 6 * TOKENS * WIDTH * WORDS, f"{entry['chunk_tokens']} tokens, {entry['flops']} FLOPs")
        return f"{plan['arena_bytes'] / MIB:.1f} MiB"

    def check_work(self):
        """Three products of every token, whatever the chunk, and as many instructions."""
        wide, narrow = (self.accumulate(self.plan(budget)) for budget in (None, STATE + 64 * MIB))
        expect(wide["chunk_tokens"] == 512 and narrow["chunk_tokens"] == 64, f"{wide['chunk_tokens']} and {narrow['chunk_tokens']} tokens at a time")
        expect(wide["flops"] == narrow["flops"] == 6 * TOKENS * WIDTH * WORDS, f"{wide['flops']} and {narrow['flops']} FLOPs")
        expect(wide["instructions"] == narrow["instructions"] <= 30, f"{wide['instructions']} and {narrow['instructions']} instructions")
        return f"{wide['instructions']} instructions"

    def check_budgets(self):
        """More memory never makes chunks smaller, nor the step slower; what is planned is what was predicted."""
        budgets = [STATE + extra * MIB for extra in (40, 50, 90, 110, 170, 400)]
        points = self.plan(None, "--budgets", ",".join(f"{budget}B" for budget in budgets))["budgets"]
        expect([point["fits"] for point in points] == [False] + 5 * [True], "other budgets fit")
        expect([point["chunk_tokens"] for point in points] == [64, 64, 128, 160, 256, 512], str([point["chunk_tokens"] for point in points]))
        for point, more in zip(points[1:], points[2:]):
            expect(more["seconds"] <= point["seconds"], f"{more['budget']} bytes are slower than {point['budget']}")
        for point in points[1:]:
            planned = self.plan(point["budget"])["arena_bytes"]
            expect(planned == point["arena_bytes"], f"{point['budget']}: predicted {point['arena_bytes']}, planned {planned}")
        return f"{points[1]['chunk_tokens']} to {points[-1]['chunk_tokens']} tokens"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("graph")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        head = Head(arguments.graft, arguments.graph, work)
        return run_checks([("memory", head.check_memory), ("bfloat16", head.check_bfloat16), ("distribution", head.check_distribution), ("work", head.check_work), ("budgets", head.check_budgets)])


if __name__ == "__main__":
    sys.exit(main())
