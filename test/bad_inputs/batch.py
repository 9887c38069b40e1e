"""Batches (safetensors), broken ones and legal but odd ones. emit(folder) as in safetensors.py; kind is "batch".

Two sequences of 6 tokens, ids below 100: run them with a program of this size whose objective uses loss_mask (required), advantages, old_logprobs, rewards and group_ids.
"""
import json
import math
import os
import struct

FORMATS = {"I64": "q", "I32": "i", "I16": "h", "U8": "B", "I8": "b", "BOOL": "B", "F32": "f", "F64": "d", "U64": "Q"}
B, S = 2, 6


def array(dtype, shape, values):
    """(dtype, shape, bytes); one value stands for all."""
    count = math.prod(shape)
    values = values if isinstance(values, list) else [values] * count
    return dtype, shape, struct.pack("<%d%s" % (count, FORMATS[dtype]), *values)


def pack(arrays):
    header, data = {}, b""
    for name, (dtype, shape, contents) in sorted(arrays.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(contents)]}
        data += contents
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = {
    "input_ids": array("I64", [B, S], [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6]),
    "attention_mask": array("I64", [B, S], [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]),
    "loss_mask": array("F32", [B, S], [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]),
    "advantages": array("F32", [B], [1, -1]),
    "old_logprobs": array("F32", [B, S], -1.0),
    "rewards": array("F32", [B], [1, 0]),
    "group_ids": array("I32", [B], [0, 0]),
}


def batch(**change):
    """GOOD with changes; None leaves an array out."""
    return pack({k: v for k, v in {**GOOD, **change}.items() if v is not None})


def tokens(dtype, row, column, value, base):
    values = list(base)
    values[row * S + column] = value
    return array(dtype, [B, S], values)


IDS = [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6]
MASK = [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
LOSS = [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]
NAN, INF = float("nan"), float("inf")


def legal():
    yield "plain", batch()
    yield "no-mask", batch(attention_mask=None)
    yield "positions", batch(position_ids=array("I32", [B, S], [0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 4, 5]))
    for dtype in ("I32", "I16", "U8", "I8", "U64"):
        yield f"ids-{dtype}", batch(input_ids=array(dtype, [B, S], IDS))
    for dtype in ("BOOL", "I32", "U8"):
        yield f"mask-{dtype}", batch(attention_mask=array(dtype, [B, S], MASK))
        yield f"loss-{dtype}", batch(loss_mask=array(dtype, [B, S], LOSS))
    yield "bool-of-255", batch(attention_mask=array("BOOL", [B, S], [255 * v for v in MASK]))
    yield "float64", batch(old_logprobs=array("F64", [B, S], -1.0), rewards=array("F64", [B], 0.5))
    yield "shifted", batch(loss_mask=array("F32", [B, S - 1], [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]), old_logprobs=array("F32", [B, S - 1], -1.0))
    yield "advantages-per-token", batch(advantages=array("F32", [B, S], 1.0))
    yield "left-padding", batch(attention_mask=array("I64", [B, S], [0, 0, 1, 1, 1, 1] + [1] * 6), loss_mask=array("F32", [B, S], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]))
    yield "nan-outside-of-the-loss", batch(old_logprobs=tokens("F32", 0, 1, NAN, [-1.0] * 12))
    yield "inf-at-index-0", batch(old_logprobs=tokens("F32", 0, 0, -INF, [-1.0] * 12))
    yield "unused-array", batch(whatever=array("F32", [3], 1.0))
    yield "unused-nan", batch(whatever=array("F32", [3], NAN))
    yield "loss-weights", batch(loss_mask=array("F32", [B, S], [0.5 * v for v in LOSS]))
    yield "loss-at-index-0", batch(loss_mask=tokens("F32", 1, 0, 1, LOSS))
    yield "row-of-padding", batch(attention_mask=array("I64", [B, S], [0] * 6 + [1] * 6), loss_mask=array("F32", [B, S], [0] * 6 + LOSS[6:]))


def broken():
    for name in ("input_ids", "loss_mask"):
        yield f"missing-{name}", batch(**{name: None})
    for value in (-1, -100, 100_000_000, 2**31, 2**63 - 1, -(2**63)):
        yield f"id-{value}", batch(input_ids=tokens("I64", 1, 2, value, IDS))
    yield "id-u64", batch(input_ids=tokens("U64", 1, 2, 2**64 - 1, IDS))
    yield "id-in-padding", batch(input_ids=tokens("I64", 0, 5, -1, IDS))
    for value in (2, -1, 2**62):
        yield f"mask-{value}", batch(attention_mask=tokens("I64", 1, 2, value, MASK))
    for value in (-1, 2**31, 2**62):
        yield f"position-{value}", batch(position_ids=tokens("I64", 1, 2, value, IDS))
    for i, value in enumerate((-1, NAN, INF)):
        yield f"loss-{i}", batch(loss_mask=tokens("F32", 1, 3, value, LOSS))
    yield "loss-on-padding", batch(loss_mask=tokens("F32", 0, 5, 1, LOSS))
    for i, value in enumerate((NAN, INF, -INF)):
        yield f"old-logprob-{i}", batch(old_logprobs=tokens("F32", 1, 4, value, [-1.0] * 12))
        yield f"reward-{i}", batch(rewards=array("F32", [B], [0, value]))
        yield f"advantage-{i}", batch(advantages=array("F32", [B], [0, value]))
    yield "reward-too-large", batch(rewards=array("F64", [B], 1e300))
    for name, dtype in (("input_ids", "F32"), ("attention_mask", "F32"), ("group_ids", "F32"), ("position_ids", "F64")):
        shape = [B] if name == "group_ids" else [B, S]
        yield f"type-{name}", batch(**{name: array(dtype, shape, 1.0)})
    for name, dtype, value in (("attention_mask", "I64", 1), ("loss_mask", "F32", 0.0), ("old_logprobs", "F32", 0.0), ("advantages", "F32", 0.0), ("rewards", "F32", 0.0), ("group_ids", "I32", 0), ("position_ids", "I64", 0)):
        for shape in ([], [S], [B + 1], [B, S + 1], [B + 1, S], [B, S, 1], [1, B * S], [S, B], [0]):
            yield f"shape-{name}-{'x'.join(map(str, shape)) or 'scalar'}", batch(**{name: array(dtype, shape, value)})
    for name in ("input_ids", "attention_mask", "position_ids"):
        yield f"shifted-{name}", batch(**{name: array("I64", [B, S - 1], 1)})
    for shape in ([], [12], [0, 6], [6, 0], [2, 3, 2]):
        yield f"ids-shape-{'x'.join(map(str, shape)) or 'scalar'}", batch(input_ids=array("I64", shape, 1))
    yield "packed", pack({"input_ids": array("I64", [1, 12], 1), "segment_ids": array("I64", [1, 12], 1), "loss_mask": array("F32", [1, 12], 0.0)})
    header = b'{"input_ids":{"dtype":"C64","shape":[2,6],"data_offsets":[0,96]}}'
    yield "complex-ids", struct.pack("<Q", len(header)) + header + b"\0" * 96
    yield "no-batch-at-all", pack({"weight": array("F32", [4], 1.0)})
    yield "empty", pack({})


def emit(folder):
    cases = []
    os.makedirs(folder, exist_ok=True)
    for family, prefix, expect in ((legal, "legal-", "ok"), (broken, "", "reject")):
        for name, contents in family():
            path = os.path.join(folder, prefix + name + ".safetensors")
            with open(path, "wb") as f:
                f.write(contents)
            cases.append({"id": "batch-" + prefix + name, "path": path, "kind": "batch", "expect": expect})
    huge = os.path.join(folder, "huge.safetensors")
    header = json.dumps({"input_ids": {"dtype": "U8", "shape": [2**20, 2**16], "data_offsets": [0, 2**36]}}).encode()
    with open(huge, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        f.truncate(8 + len(header) + 2**36)
    cases.append({"id": "batch-huge", "path": huge, "kind": "batch", "expect": "reject"})
    return cases
