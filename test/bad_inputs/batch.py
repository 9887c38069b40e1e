"""Batches (safetensors), broken ones and legal but odd ones. emit(folder, fixture) as in weights.py; kind is "batch".

Their size is that of fixture["batch"], without it 2 sequences of 6 tokens; ids lie below 100. Run them with a program of this size whose objective
needs loss_mask, advantages, old_logprobs and can use rewards and group_ids.
"""
import json
import math
import os
import struct

FORMATS = {"I64": "q", "I32": "i", "I16": "h", "U8": "B", "I8": "b", "BOOL": "B", "F32": "f", "F64": "d", "U64": "Q"}
B, S = 2, 6  # at least


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


def set_size(rows, width):
    """Makes the valid arrays of this size: row 0 has one token of padding, the others none; the last columns are in the loss."""
    global B, S, IDS, MASK, LOSS, GOOD
    B, S = rows, width
    IDS = ([i + 1 for i in range(S - 1)] + [0]) + [i + 1 for i in range(S)] * (B - 1)
    MASK = ([1] * (S - 1) + [0]) + [1] * (S * (B - 1))
    LOSS = ([0] * 3 + [1] * (S - 4) + [0]) + ([0] * 3 + [1] * (S - 3)) * (B - 1)
    GOOD = {
        "input_ids": array("I64", [B, S], IDS),
        "attention_mask": array("I64", [B, S], MASK),
        "loss_mask": array("F32", [B, S], LOSS),
        "advantages": array("F32", [B], [1] * (B - 1) + [-1]),
        "old_logprobs": array("F32", [B, S], -1.0),
        "rewards": array("F32", [B], [1] * (B - 1) + [0]),
        "group_ids": array("I32", [B], 0),
    }


def batch(**change):
    """GOOD with changes; None leaves an array out."""
    return pack({k: v for k, v in {**GOOD, **change}.items() if v is not None})


def tokens(dtype, row, column, value, base):
    values = list(base)
    values[row * S + column] = value
    return array(dtype, [B, S], values)


NAN, INF = float("nan"), float("inf")


def legal():
    yield "plain", batch()
    yield "no-mask", batch(attention_mask=None)
    yield "positions", batch(position_ids=array("I32", [B, S], list(range(S)) * B))
    for dtype in ("I32", "I16", "U8", "I8", "U64"):
        yield f"ids-{dtype}", batch(input_ids=array(dtype, [B, S], IDS))
    for dtype in ("BOOL", "I32", "U8"):
        yield f"mask-{dtype}", batch(attention_mask=array(dtype, [B, S], MASK))
        yield f"loss-{dtype}", batch(loss_mask=array(dtype, [B, S], LOSS))
    yield "bool-of-255", batch(attention_mask=array("BOOL", [B, S], [255 * v for v in MASK]))
    yield "float64", batch(old_logprobs=array("F64", [B, S], -1.0), rewards=array("F64", [B], 0.5))
    yield "shifted", batch(loss_mask=array("F32", [B, S - 1], [v for i, v in enumerate(LOSS) if i % S]), old_logprobs=array("F32", [B, S - 1], -1.0))
    yield "advantages-per-token", batch(advantages=array("F32", [B, S], 1.0))
    yield "left-padding", batch(attention_mask=array("I64", [B, S], [0, 0] + [1] * (B * S - 2)))
    yield "nan-outside-of-the-loss", batch(old_logprobs=tokens("F32", 0, 1, NAN, [-1.0] * (B * S)))
    yield "inf-at-index-0", batch(old_logprobs=tokens("F32", 0, 0, -INF, [-1.0] * (B * S)))
    yield "unused-array", batch(whatever=array("F32", [3], 1.0))
    yield "unused-nan", batch(whatever=array("F32", [3], NAN))
    yield "loss-weights", batch(loss_mask=array("F32", [B, S], [0.5 * v for v in LOSS]))
    yield "loss-at-index-0", batch(loss_mask=tokens("F32", 1, 0, 1, LOSS))
    yield "row-of-padding", batch(attention_mask=array("I64", [B, S], [0] * S + MASK[S:]), loss_mask=array("F32", [B, S], [0] * S + LOSS[S:]))


def broken():
    for name in ("input_ids", "loss_mask"):
        yield f"missing-{name}", batch(**{name: None})
    for value in (-1, -100, 100_000_000, 2**31, 2**63 - 1, -(2**63)):
        yield f"id-{value}", batch(input_ids=tokens("I64", 1, 2, value, IDS))
    yield "id-u64", batch(input_ids=tokens("U64", 1, 2, 2**64 - 1, IDS))
    yield "id-in-padding", batch(input_ids=tokens("I64", 0, S - 1, -1, IDS))
    for value in (2, -1, 2**62):
        yield f"mask-{value}", batch(attention_mask=tokens("I64", 1, 2, value, MASK))
    for value in (-1, 2**31, 2**62):
        yield f"position-{value}", batch(position_ids=tokens("I64", 1, 2, value, IDS))
    for i, value in enumerate((-1, NAN, INF)):
        yield f"loss-{i}", batch(loss_mask=tokens("F32", 1, 3, value, LOSS))
    yield "loss-on-padding", batch(loss_mask=tokens("F32", 0, S - 1, 1, LOSS))
    for i, value in enumerate((NAN, INF, -INF)):
        yield f"old-logprob-{i}", batch(old_logprobs=tokens("F32", 1, 4, value, [-1.0] * (B * S)))
        yield f"reward-{i}", batch(rewards=array("F32", [B], [0] * (B - 1) + [value]))
        yield f"advantage-{i}", batch(advantages=array("F32", [B], [0] * (B - 1) + [value]))
    yield "reward-too-large", batch(rewards=array("F64", [B], 1e300))
    for name, dtype in (("input_ids", "F32"), ("attention_mask", "F32"), ("group_ids", "F32"), ("position_ids", "F64")):
        shape = [B] if name == "group_ids" else [B, S]
        yield f"type-{name}", batch(**{name: array(dtype, shape, 1.0)})
    for name, dtype, value in (("attention_mask", "I64", 1), ("loss_mask", "F32", 0.0), ("old_logprobs", "F32", 0.0), ("advantages", "F32", 0.0), ("rewards", "F32", 0.0), ("group_ids", "I32", 0), ("position_ids", "I64", 0)):
        for shape in ([], [S], [B + 1], [B, S + 1], [B + 1, S], [B, S, 1], [1, B * S], [S, B], [0]):
            yield f"shape-{name}-{'x'.join(map(str, shape)) or 'scalar'}", batch(**{name: array(dtype, shape, value)})
    for name in ("input_ids", "attention_mask", "position_ids"):
        yield f"shifted-{name}", batch(**{name: array("I64", [B, S - 1], 1)})
    for shape in ([], [B * S], [0, S], [B, 0], [B, S, 1]):
        yield f"ids-shape-{'x'.join(map(str, shape)) or 'scalar'}", batch(input_ids=array("I64", shape, 1))
    segments = {"dtype": array("F32", [1, 12], 1.0), "shape": array("I64", [12], 1), "rows": array("I64", [2, 6], 1), "negative": array("I64", [1, 12], -1),
                "none": array("I64", [1, 12], 0), "gap": array("I64", [1, 12], [1] * 6 + [3] * 6), "torn": array("I64", [1, 12], [1, 2] * 6),
                "huge": array("I64", [1, 12], [2**63 - 1] * 12)}
    for name, ids in segments.items():
        yield f"packed-{name}", pack({"input_ids": array("I64", [1, 12], 1), "segment_ids": ids, "loss_mask": array("F32", [1, 12], 0.0)})
    header = b'{"input_ids":{"dtype":"C64","shape":[2,6],"data_offsets":[0,96]}}'
    yield "complex-ids", struct.pack("<Q", len(header)) + header + b"\0" * 96
    yield "no-batch-at-all", pack({"weight": array("F32", [4], 1.0)})
    yield "empty", pack({})


def emit(folder, fixture=None):
    rows, width = 2, 6
    if fixture:
        with open(fixture["batch"], "rb") as f:
            rows, width = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["input_ids"]["shape"]
    set_size(rows, width)
    cases = []
    os.makedirs(folder, exist_ok=True)
    for family, prefix, expect in ((legal, "legal-", "ok"), (broken, "", "range|type|graph|unsupported")):
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
    cases.append({"id": "batch-huge", "path": huge, "kind": "batch", "expect": "limit|range|graph"})
    return cases
