#!/usr/bin/env python3
"""graft port, explain and doctor from their arguments to text, JSON and exit codes. Usage: port_commands.py GRAFT MODELS"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

GRAFT, MODELS = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()


def run(*arguments, **environment):
    return subprocess.run([GRAFT, *map(str, arguments)], capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def node(op, inputs, output):
    return b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, op.lower()) + field(4, op)


def value(name):
    shape = field(1, field(1, 2))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def unsupported_model():
    """x -> Conv -> Relu -> Det -> y."""
    nodes = [node("Conv", ["x", "x"], "a"), node("Relu", ["a"], "b"), node("Det", ["b"], "y")]
    graph = b"".join(field(1, n) for n in nodes) + field(2, "main") + field(11, value("x")) + field(12, value("y"))
    return field(1, 10) + field(8, field(1, "") + field(2, 20)) + field(7, graph)


class Port(unittest.TestCase):
    def test_page(self):
        result = run("port", MODELS / "llama/model.onnx")
        self.assertEqual(result.returncode, 0, result.stderr)
        for text in ["opset        ai.onnx 20", "2 x model.layers.N: [", "residual", "embedding(256x32)", "21 tensors, 34,976 numbers", "preset = \"grpo\""]:
            self.assertIn(text, result.stdout)

    def test_json(self):
        result = run("port", MODELS / "llama/model.onnx", "--batch", MODELS / "llama/batch.safetensors", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertTrue(report["supported"])
        self.assertEqual([b["count"] for b in report["blocks"] if b["path"]], [2])
        self.assertLess(report["batch"]["largest_logprob_difference"], 2e-5)
        self.assertEqual((report["sequences"], report["tokens"]), (3, 12))
        self.assertGreater(report["flops_per_token"], 2 * 34976 - 2 * 256 * 32)

    def test_the_recipe_compiles(self):
        report = json.loads(run("port", MODELS / "llama/model.onnx", "--json").stdout)
        with tempfile.TemporaryDirectory() as folder:
            recipe = pathlib.Path(folder) / "recipe.toml"
            recipe.write_text(report["recipe"])
            program = pathlib.Path(folder) / "p.graft"
            result = run("compile", recipe, "-o", program)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.explain(program)

    def explain(self, program):
        result = run("explain", program, "memory")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("no plan is smaller", result.stdout)
        peaks = json.loads(run("explain", program, "memory", "--json").stdout)
        entries = {peak["entry"]: peak for peak in peaks["peaks"]}
        self.assertIn("logprobs", entries)
        self.assertEqual(max(peak["planned"] for peak in entries.values()), peaks["arena_bytes"])
        for peak in entries.values():
            self.assertLessEqual(peak["lower_bound"], peak["planned"])
            self.assertLessEqual(sum(buffer["bytes"] for buffer in peak["live"]), peak["lower_bound"])
        name = "model.layers.1.mlp.down_proj.weight"
        found = json.loads(run("explain", program, name, "--json").stdout)
        self.assertEqual([p["name"] for p in found["parameters"]], [name])
        self.assertTrue(any(use["block"] == "gradient" and use["access"] != "read" for use in found["parameters"][0]["uses"]))
        self.assertIn("gradient written by", run("explain", program, name).stdout)
        self.assertEqual(run("explain", program, "no such tensor").returncode, 2)
        table = json.loads(run("explain", program, "instructions", "--entry", "logprobs", "--json").stdout)
        self.assertEqual(len(table["entries"]), 1)
        # Seven projections of two layers and the head, at least.
        self.assertGreaterEqual(sum(i["kind"] == "gemm" for i in table["entries"][0]["instructions"]), 15)
        self.assertEqual(run("explain", program, "instructions", "--entry", "absent").returncode, 2)
        self.assertEqual(run("explain", program).returncode, 0)

    def test_all_that_is_unsupported_and_the_page(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            path.write_bytes(unsupported_model())
            result = run("port", path)
            self.assertEqual(result.returncode, 3)
            for text in ["operator Conv of opset 20", "operator Det of opset 20", "nearest: a depthwise convolution", "ONNX         3 nodes", "unsupported  1 Conv, 1 Det"]:
                self.assertIn(text, result.stdout)
            result = run("port", path, "--json")
            self.assertEqual(result.returncode, 3)
            report = json.loads(result.stdout)
            self.assertFalse(report["supported"])
            self.assertEqual(report["unsupported_operators"], {"Conv": 1, "Det": 1})
            self.assertTrue(all("code" in error and "place" in error for error in report["errors"]))

    def test_no_model(self):
        self.assertEqual(run("port", "absent.onnx").returncode, 3)
        self.assertEqual(run("port", "model.gguf").returncode, 2)
        self.assertEqual(run("port").returncode, 2)


class Doctor(unittest.TestCase):
    def test_findings(self):
        result = run("doctor", "--json")
        report = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if report["ok"] else 1)
        found = {finding["what"]: finding for finding in report["findings"]}
        for what in ["processor", "instruction set", "cores", "threads", "memory", "huge pages", "oneDNN", "compiler", "folder", "GRAFT_THREADS"]:
            self.assertIn(what, found)
        self.assertIn("22.", found["compiler"]["found"])

    def test_what_is_wrong(self):
        self.assertEqual(run("doctor", GRAFT_THREADS="many").returncode, 1)
        result = run("doctor", GRAFT_THRAEDS="2")
        self.assertIn("warn  GRAFT_THRAEDS", result.stdout)
        result = run("doctor", GRAFT_THREADS="1000")
        self.assertIn("warn  threads", result.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
