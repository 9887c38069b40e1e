#!/usr/bin/env python3
"""Objectives that look at the whole distribution, compiled, against the reference interpreter in float64 (`graft verify`).

    distribution.py GRAFT MODEL-FOLDER

Padded, packed, in micro-batches, with products in bfloat16; heads whose loops are one, two and three.
"""
import argparse
import json
import os
import sys
import tempfile

from command import Failure, graft, run, run_checks

OBJECTIVES = {
    "smoothed": """
l = log_softmax(logits)
loss = token_mean(-(0.9 * at_token(l) + 0.1 * vocab_mean(l)) + 0.01 * vocab_logsumexp(logits) ^ 2)""",
    "moments": """
p = softmax(logits)
top = where(logits >= vocab_kth_largest(logits, 3), p, 0)
loss = token_mean(0.3 * vocab_sum(p * p) + 0.1 * vocab_logsumexp(2 * logits) - log(vocab_sum(top)) - at_token(log_softmax(logits)))""",
    "sequences": """
l = log_softmax(logits)
loss = token_mean(-exp(seq_mean(at_token(l))) - 0.1 * seq_max(vocab_sum(exp(2 * l))))""",
    "nested": """
l = log_softmax(logits)
usual = seq_mean(at_token(l))
loss = token_mean(-at_token(l) * seq_mean(vocab_sum(where(l > usual, exp(l), 0))) * exp(usual))""",
}
LOOPS = {"smoothed": 1, "moments": 1, "sequences": 2, "nested": 3}
FORMS = {"padded": "", "packed": "packed = 48", "split": "micro_batches = 2"}


class Distribution:
    def __init__(self, program, model, work):
        self.program, self.model, self.work = program, os.path.abspath(model), work

    def write(self, text, batch="", compute="float32"):
        with open(f"{self.work}/words.objective", "w") as file:
            file.write(f"objective words\ninput logits : vocabulary\n{text}\n")
        recipe = f"{self.work}/recipe.toml"
        with open(recipe, "w") as file:
            file.write(f'[model]\ngraph = "{self.model}/model.onnx"\nweights = "{self.model}/weights.safetensors"\n[objective]\nfile = "words.objective"\n'
                       f'[batch]\nsequences = 4\ntokens = 12\n{batch}\n[precision]\ncompute = "{compute}"\n')
        return recipe

    def check(self, name):
        """The same in every form; as many products of the head's size as loops need."""
        text, worst = OBJECTIVES[name], 0
        for batch in FORMS.values():
            result = json.loads(graft(self.program, "verify", self.write(text, batch), "--json").stdout)
            worst = max(worst, *(entry["difference"] for entry in result["comparisons"]))
        graft(self.program, "compile", self.write(text), "-o", f"{self.work}/p.graft", "--dump", f"loss={self.work}/loss.mlir")
        with open(f"{self.work}/loss.mlir", encoding="utf-8") as file:
            accumulate = file.read().split("func.func @accumulate")[1]
        loops = accumulate.count("rl.token_loop")
        if loops != LOOPS[name]:
            raise Failure(f"{loops} loops")
        return f"{loops} loops, worst difference {worst:.1e}"

    def check_bfloat16(self):
        graft(self.program, "verify", self.write(OBJECTIVES["sequences"], compute="bfloat16"))
        return "within the bound of graft verify"

    def check_other_inputs(self):
        """A batch holds no values per word."""
        done = run(self.program, "compile", self.write("input teacher : vocabulary\nloss = token_mean(vocab_sum(softmax(teacher) * logits))"), "-o", f"{self.work}/p.graft")
        if done.returncode != 3 or "needs 'teacher', a value per word" not in done.stderr or "recipe.toml:5:1" not in done.stderr:
            raise Failure(f"exit {done.returncode}: {done.stderr}")
        return "refused"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graft")
    parser.add_argument("model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        own = Distribution(arguments.graft, arguments.model, work)
        checks = [(name, lambda name=name: own.check(name)) for name in OBJECTIVES]
        return run_checks([*checks, ("bfloat16", own.check_bfloat16), ("other inputs", own.check_other_inputs)])


if __name__ == "__main__":
    sys.exit(main())
