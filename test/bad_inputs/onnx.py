#!/usr/bin/env python3
"""Broken, hostile and legal but odd ONNX files.

    python test/bad_inputs/onnx.py DIR        writes them below DIR and DIR/manifest.json

emit(dir) returns [{id, path, kind, expect}]: `kind` is "onnx"; `path` is the file to give to Graft (it may not exist or be
no file: that is the case); `expect` lists the classes of fault that are right, joined by "|", or is "ok" for legal input.
Cases whose faults only show when operators are translated (shapes, ids S.. and some of G and T) have "stage": "import",
the others "read". Deterministic: same bytes on every run. Needs the onnx package; messages it would refuse to write
are written by hand.
"""
import gzip
import io
import json
import os
import random
import stat
import struct
import sys
import tarfile
import zipfile

# This file has the name of the package it needs: look for the package elsewhere than beside this file.
_beside = [entry for entry in sys.path if os.path.abspath(entry or ".") == os.path.dirname(os.path.abspath(__file__))]
sys.path[:] = [entry for entry in sys.path if entry not in _beside]
from onnx import AttributeProto, TensorProto, helper  # noqa: E402

sys.path[:0] = _beside

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
I64MAX, I64MIN = 2**63 - 1, -(2**63)
OPSET = 20


# The wire format by hand.


def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """An integer as varint, bytes or text as length-delimited field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


# Models by the onnx package.


def info(name, dims=(2,), dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def node(op, inputs, outputs, name=None, **attributes):
    return helper.make_node(op, inputs, outputs, name=name or (outputs[0] if outputs else op), **attributes)


def graph(nodes=None, initializers=(), inputs=None, outputs=None):
    nodes = [node("Relu", ["x"], ["y"])] if nodes is None else nodes
    inputs = [info("x")] if inputs is None else inputs
    return helper.make_graph(nodes, "main", inputs, [info("y")] if outputs is None else outputs, list(initializers))


def model(body=None, functions=(), opsets=None, ir=10):
    opsets = [("", OPSET), ("local", 1)] if opsets is None else opsets
    built = helper.make_model(body if body is not None else graph(), functions=list(functions),
                              opset_imports=[helper.make_opsetid(d, v) for d, v in opsets])
    built.ir_version = ir
    return built


def function(name, inputs, outputs, nodes, attributes=(), defaults=()):
    return helper.make_function("local", name, inputs, outputs, nodes,
                                [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)], list(attributes), list(defaults))


def call(name, inputs, outputs):
    return node(name, inputs, outputs, domain="local")


def tensor(name="w", dtype=FLOAT, dims=(1,), **fields):
    made = TensorProto(name=name, data_type=dtype if 0 <= dtype < 27 else 1, dims=dims)
    for key, value in fields.items():
        if isinstance(value, list):
            getattr(made, key).extend(value)
        else:
            setattr(made, key, value)
    return made


def constant(name, values, dtype=INT64):
    return helper.make_tensor(name, dtype, [len(values)], values)


def scalar(name, value, dtype=INT64):
    return helper.make_tensor(name, dtype, [], [value])


def external(keys, name="w", dims=(2,), dtype=FLOAT, location=1):
    made = TensorProto(name=name, data_type=dtype, dims=dims, data_location=location)
    for key, value in keys:
        made.external_data.add(key=key, value=value)
    return made


def branch(nodes, output, dtype=FLOAT):
    return helper.make_graph(nodes, "branch", [], [info(output, dtype=dtype)])


def relu_with(initializers, **kinds):
    return model(graph(initializers=initializers), **kinds)


class Emitter:
    def __init__(self, root):
        self.root = root
        self.cases = []
        self.count = {}

    def path(self, row, name=None):
        number = self.count[row] = self.count.get(row, -1) + 1
        return os.path.join(self.root, f"{row}-{number:02d}{'-' + name if name else ''}.onnx")

    def case(self, row, content, expect, note=None, stage="read"):
        path = self.path(row, note)
        if content is not None:
            with open(path, "wb") as out:
                out.write(content if isinstance(content, bytes) else content.SerializeToString())
        self.listed(row, path, expect, stage)

    def listed(self, row, path, expect, stage="read"):
        name = os.path.splitext(os.path.basename(path))[0]
        self.cases.append({"id": name, "path": path, "kind": "onnx", "expect": expect, "stage": stage})

    def write(self, name, content):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
        return path


def wire(e):
    good = model().SerializeToString()
    e.case("W01", b"", "format")
    e.case("W01", b"\x00", "format")
    e.case("W01", field(2, "producer"), "format")
    for size in range(1, len(good), 5):
        e.case("W02", good[:size], "format|graph|type")
    flip = random.Random(3)
    for bit in sorted(flip.sample(range(len(good) * 8), 40)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        e.case("W03", bytes(damaged), "ok|format|limit|range|type|graph|unsupported")
    for length in (0xFFFFFFFF, 2**63 - 1, 2**64 - 1, 2**32 + 2):
        e.case("W04", b"\x08\x0a\x3a" + varint(length) + b"0123456789", "format")
    e.case("W05", b"\x08" + b"\xff" * 11, "format")
    e.case("W05", b"\xff" * 4096, "format")
    for tag in (b"\x00\x01", b"\x0e\x01", b"\x0f\x01", b"\x07\x01"):
        e.case("W06", tag + good, "format")

    def nested(depth):
        body = b""
        for level in range(depth, 0, -1):
            body = field(7 if level == 1 else (6, 1, 5)[(level - 1) % 3], body)
        return field(1, 10) + body
    for depth in (50, 99, 100):
        e.case("W07", nested(depth), "graph|format|type|unsupported", f"depth{depth}")
    for depth in (101, 3000):
        e.case("W07", nested(depth), "limit", f"depth{depth}")
    # A million levels with lengths that do not fit: found at the outermost one that is wrong, never by descending.
    e.case("W07", field(1, 10) + b"\x3a\x00" + b"\x32\xff\x7f\x0a\xff\x7f\x2a\xff\x7f" * 100_000, "format|limit|graph", "million")
    e.case("W08", b"\xa3\x06" * 1_000_000, "limit|format")
    e.case("W08", good + b"\xa3\x06" * 50 + b"\xa4\x06" * 50, "ok")
    e.case("W09", good + b"\xa4\x06", "format")
    e.case("W09", good + b"\xa3\x06\xac\x06", "format")
    e.case("W10", field(999, b"z" * 30_000_000) + good + field(999, b"z" * 30_000_000), "ok|limit")
    second = graph(nodes=[node("Relu", ["y"], ["z"])], inputs=[], outputs=[])
    e.case("W11", good + field(7, second.SerializeToString()), "ok")
    e.case("W11", good + field(7, graph().SerializeToString()), "graph")
    ints = field(1, "a") + field(20, 7) + field(8, b"\x01" * 80_000_000)
    e.case("W12", field(1, 10) + field(7, field(1, field(5, ints))), "limit")
    e.case("W12", field(1, 10) + field(7, b"\x0a\x00" * 5_000_000), "limit", "empty-nodes")
    for index, name in enumerate((b"\xff\xfe", b"a\x00b", b"a\nb", b"\x1b[31mred", "\u202eabc".encode())):
        used = field(1, 10) + field(8, field(2, OPSET)) + field(7, field(1, field(1, name) + field(2, b"y") + field(3, name) + field(4, b"Relu")) + field(12, info("y").SerializeToString()))
        e.case("W13", used, "graph", f"undefined{index}")
        defined = used + field(7, field(5, field(1, 2) + field(2, 1) + field(8, name) + field(9, b"12345678")))
        e.case("W13", defined, "ok|type", f"defined{index}")
    for size in (2**31 - 1, 2**31, 2**31 + 1):
        path = e.path("W14")
        with open(path, "wb") as out:
            out.truncate(size)
        e.listed("W14", path, "limit|format")
    directory = e.path("W15", "directory")
    os.mkdir(directory)
    e.listed("W15", directory, "io")
    pipe = e.path("W15", "fifo")
    os.mkfifo(pipe)
    e.listed("W15", pipe, "io")
    e.listed("W15", e.path("W15", "missing"), "io")
    dangling = e.path("W15", "dangling")
    os.symlink("nowhere", dangling)
    e.listed("W15", dangling, "io")
    e.listed("W15", "/dev/zero", "io")
    e.listed("W15", "/dev/null", "io")
    if os.geteuid() != 0:
        path = e.path("W15", "unreadable")
        open(path, "wb").close()
        os.chmod(path, 0)
        e.listed("W15", path, "io")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr(zipfile.ZipInfo("m.onnx"), good)
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as out:
        out.addfile(tarfile.TarInfo("m.onnx"), io.BytesIO(b""))
    for name, content in (("gzip", gzip.compress(good, mtime=0)), ("zip", archive.getvalue()), ("tar", tape.getvalue()),
                          ("pdf", b"%PDF-1.7\n"), ("html", b"<!DOCTYPE html><html></html>"),
                          ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"), ("mlir", b"module {}\n")):
        e.case("W16", content, "format", name)


def graphs(e):
    for ir in (0, -1, I64MAX, 2):
        e.case("G01", model(ir=ir), "unsupported")
    e.case("G02", model(opsets=[]), "graph")
    e.case("G02", model(opsets=[("", 20), ("", 19)]), "graph")
    e.case("G02", model(opsets=[("", 20), ("ai.onnx", 20)]), "graph")
    for version in (0, -1, 1, 2**31, 10**9):
        e.case("G02", model(opsets=[("", version)]), "unsupported")
    e.case("G03", model(graph([node("Add", ["x", "nowhere"], ["y"])])), "graph")
    e.case("G04", model(graph(outputs=[info("y"), info("nowhere")])), "graph")
    e.case("G05", model(graph([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])])), "graph")
    e.case("G05", model(graph([node("Relu", ["x"], ["y"]), node("Neg", ["y"], ["x"])])), "graph")
    e.case("G05", model(graph([node("Relu", ["x"], ["y"]), node("Neg", ["y"], ["w"])], [constant("w", [1])])), "graph")
    e.case("G05", model(graph([node("Split", ["x"], ["y", "y"], num_outputs=2)])), "graph")
    e.case("G06", model(graph([node("Add", ["x", "y"], ["y"])])), "graph", "self-loop")
    e.case("G06", model(graph([node("Add", ["x", "b"], ["y"]), node("Relu", ["y"], ["b"])])), "graph")
    size = 100_000
    e.case("G06", model(graph([node("Identity", [f"v{(i - 1) % size}"], [f"v{i}"]) for i in range(size)] + [node("Relu", ["x"], ["y"])])), "graph", "ring")
    e.case("G07", model(graph([node("Relu", ["z"], ["y"]), node("Relu", ["x"], ["z"])])), "graph")
    size = 200_000
    chain = [node("Identity", ["x" if i == 0 else f"v{i}"], ["y" if i == size - 1 else f"v{i + 1}"]) for i in range(size)]
    e.case("G08", model(graph(chain)), "ok|limit")
    e.case("G09", model(graph([node("Concat", ["x"] * 100_000, ["c"], axis=0), node("Relu", ["x"], ["y"])])), "ok|limit")
    e.case("G10", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a"], ["b"], [call("f", ["a"], ["b"])])]), "graph")
    e.case("G10", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a"], ["b"], [call("g", ["a"], ["b"])]), function("g", ["a"], ["b"], [call("f", ["a"], ["b"])])]), "graph")
    e.case("G10", model(graph(), [function("f", ["a"], ["b"], [call("f", ["a"], ["b"])])]), "graph", "uncalled")
    hidden = node("If", ["a"], ["b"], then_branch=branch([call("f", ["a"], ["t"])], "t"), else_branch=branch([node("Neg", ["a"], ["u"])], "u"))
    e.case("G11", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a"], ["b"], [hidden])]), "graph")

    def chained(length):
        functions = [function(f"f{i}", ["a"], ["b"], [node("Relu", ["a"], ["b"]) if i == length - 1 else call(f"f{i + 1}", ["a"], ["b"])]) for i in range(length)]
        return model(graph([call("f0", ["x"], ["y"])]), functions)
    for length in (1, 99, 100):
        e.case("G12", chained(length), "ok", f"calls{length}")
    for length in (101, 5000):
        e.case("G12", chained(length), "limit", f"calls{length}")

    def doubling(levels):
        functions = [function("f0", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]
        functions += [function(f"f{k}", ["a"], ["b"], [call(f"f{k - 1}", ["a"], ["t"]), call(f"f{k - 1}", ["t"], ["b"])]) for k in range(1, levels + 1)]
        return model(graph([call(f"f{levels}", ["x"], ["y"])]), functions)
    e.case("G13", doubling(5), "ok")
    e.case("G13", doubling(40), "limit")
    e.case("G13", doubling(90), "limit")
    e.case("G14", model(graph(), [function(f"f{i}", ["a"], ["b"], [node("Relu", ["a"], ["b"])]) for i in range(10_001)]), "limit")
    e.case("G14", model(graph(), [function("f", ["a"], ["b"], [node("Relu", ["a"], ["b"])])] * 2), "graph")
    e.case("G15", model(graph([call("f", ["x", "x"], ["y"])]), [function("f", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]), "graph")
    e.case("G15", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a", "c"], ["b"], [node("Add", ["a", "c"], ["b"])])]), "graph")
    e.case("G15", model(graph([call("f", ["x"], ["y", "z"])]), [function("f", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]), "graph", "outputs")

    def referring(name="axis", to="k", kind=AttributeProto.INT):
        made = node("Softmax", ["a"], ["b"])
        made.attribute.add(name=name, ref_attr_name=to, type=kind)
        return made
    outside = node("Softmax", ["x"], ["y"])
    outside.attribute.add(name="axis", ref_attr_name="k", type=AttributeProto.INT)
    e.case("G16", model(graph([outside])), "graph", "outside")
    e.case("G16", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a"], ["b"], [referring()])]), "graph", "undeclared")
    typed = call("f", ["x"], ["y"])
    typed.attribute.append(helper.make_attribute("k", 1.5))
    e.case("G16", model(graph([typed]), [function("f", ["a"], ["b"], [referring()], ["k"])]), "type|graph", "type")
    itself = AttributeProto(name="k", ref_attr_name="k", type=AttributeProto.INT)
    e.case("G16", model(graph([call("f", ["x"], ["y"])]), [function("f", ["a"], ["b"], [referring()], [], [itself])]), "graph", "itself")
    good = call("f", ["x"], ["y"])
    good.attribute.append(helper.make_attribute("k", 0))
    e.case("G16", model(graph([good]), [function("f", ["a"], ["b"], [referring()], ["k"])]), "ok", "legal")
    e.case("G17", model(graph([node("", ["x"], ["y"])])), "unsupported")
    e.case("G17", model(graph([node("A" * 2**20, ["x"], ["y"])])), "unsupported")
    e.case("G17", model(graph([node("Relu", ["x"], ["y"], domain="evil")])), "unsupported")
    e.case("G17", model(graph([node("Relu", ["x"], ["y"], domain="evil")]), opsets=[("", 20), ("evil", 1)]), "unsupported")
    e.case("G17", model(graph([node("NoSuchOperator", ["x"], ["y"])])), "unsupported", stage="import")
    for op, opset in (("Gelu", 19), ("RMSNormalization", 22), ("Attention", 20), ("LayerNormalization", 16)):
        e.case("G18", model(graph([node(op, ["x"] * 3, ["y"])]), opsets=[("", opset)]), "unsupported", op, stage="import")
    for inputs in (["", "x"], [], ["x"], ["x", "x", "x"]):
        e.case("G19", model(graph([node("Add", inputs, ["y"])])), "graph", stage="import")
    e.case("G19", model(graph([node("Clip", ["x", "", ""], ["y"])])), "ok", "optional")
    e.case("G19", model(graph([node("Add", ["x", "x", ""], ["y"])])), "ok|graph", "trailing", stage="import")
    e.case("G20", model(graph([node("Relu", ["x"], ["y"]), node("Relu", ["x"], [])])), "graph")
    e.case("G20", model(graph([node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["", ""])])), "graph")
    e.case("G20", model(graph([node("Relu", ["x"], ["y", "z", "u"])])), "graph", stage="import")
    yes, no = branch([node("Relu", ["x"], ["t"])], "t"), branch([node("Neg", ["x"], ["u"])], "u")
    e.case("G21", model(graph([node("If", ["x"], ["y"], then_branch=yes)])), "graph")
    two = helper.make_graph([node("Neg", ["x"], ["u"])], "b", [], [info("u"), info("u")])
    e.case("G21", model(graph([node("If", ["x"], ["y"], then_branch=yes, else_branch=two)])), "graph")
    other = branch([node("Neg", ["x"], ["u"])], "u", INT64)
    e.case("G21", model(graph([node("If", ["x"], ["y"], then_branch=yes, else_branch=other)])), "graph")
    lost = branch([node("Neg", ["nowhere"], ["u"])], "u")
    e.case("G21", model(graph([node("If", ["x"], ["y"], then_branch=yes, else_branch=lost)])), "graph")
    late = branch([node("Neg", ["z"], ["u"])], "u")
    e.case("G21", model(graph([node("If", ["x"], ["y"], then_branch=yes, else_branch=late), node("Relu", ["x"], ["z"])])), "graph")
    e.case("G22", model(graph([node("Loop", ["x", ""], ["y"], body=yes)])), "graph")
    for count in (-1, 0, I64MAX, 2):
        e.case("G22", model(graph([node("Scan", ["x"], ["y"], body=yes, num_scan_inputs=count)])), "graph")

    def nested(depth):
        inner = field(1, field(1, "x") + field(2, "z") + field(4, "Relu")) + field(12, info("z").SerializeToString())
        for i in range(depth):
            inner = field(1, field(1, "x") + field(2, f"z{i}") + field(4, "If") + field(5, field(1, "then_branch") + field(20, 5) + field(6, inner)))
        return field(1, 10) + field(8, field(2, OPSET)) + field(7, inner)
    e.case("G23", nested(200), "limit")
    e.case("G23", nested(5000), "limit")
    hides = branch([node("Relu", ["x"], ["x"])], "x")
    e.case("G24", model(graph([node("If", ["x"], ["y"], then_branch=hides, else_branch=no)])), "graph")
    for fields in (dict(type=2, t=tensor()), dict(type=2, i=1, f=1.0), dict(type=0, i=1), dict(type=4), dict(type=5)):
        odd = node("Relu", ["x"], ["y"])
        kind = fields.pop("type")
        attribute = AttributeProto(name="a", type=kind)
        for key, value in fields.items():
            attribute.t.CopyFrom(value) if key == "t" else setattr(attribute, key, value)
        odd.attribute.append(attribute)
        e.case("G25", model(graph([odd])), "type")
    raw = node("Relu", ["x"], ["y"]).SerializeToString() + field(5, field(1, "a") + field(20, 99))
    e.case("G25", field(1, 10) + field(8, field(2, OPSET)) + field(7, field(1, raw) + field(11, info("x").SerializeToString()) + field(12, info("y").SerializeToString())), "type")
    twice = node("Relu", ["x"], ["y"], a=1)
    twice.attribute.append(helper.make_attribute("a", 1))
    e.case("G25", model(graph([twice])), "type", "twice")
    good = model().SerializeToString()
    for number in (20, 26):
        e.case("G26", good + field(number, b""), "unsupported|graph")
    annotated = model()
    annotated.graph.quantization_annotation.add(tensor_name="nowhere")
    e.case("G26", annotated, "unsupported|graph")
    placed = model()
    placed.graph.node[0].device_configurations.add(configuration_id="c", pipeline_stage=-1)
    e.case("G26", placed, "unsupported|graph")
    e.case("G27", model(graph([], inputs=[info("y")])), "ok", "through")
    e.case("G27", model(graph(outputs=[])), "graph", "no-outputs")
    e.case("G27", model(graph([node("Relu", ["w"], ["y"])], [helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])], inputs=[])), "ok", "no-inputs")
    shared = graph([node("Add", ["x", "z"], ["y"])], inputs=[info("x", ["N"]), info("z", ["N"])])
    e.case("G28", model(shared), "ok")


def tensors(e):
    widths = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2, 17: 1, 20: 1}
    for dtype, width in widths.items():
        for size in (0, 1, 4 * width - 1, 4 * width + 1, 2**16):
            e.case("T01", relu_with([tensor(dtype=dtype, dims=(2, 2), raw_data=b"\0" * size)]), "range" if size != 4 * width else "ok", f"type{dtype}")
    for dims in ((-1,), (I64MIN,), (0, -1)):
        e.case("T02", relu_with([tensor(dims=dims)]), "range")
    for dims in ((2**32, 2**32), (4194305, 4194305, 211106198978564), (I64MAX, 2)):
        e.case("T03", relu_with([tensor(dtype=TensorProto.UINT8, dims=dims, raw_data=b"1234")]), "range")
    e.case("T04", relu_with([tensor(dims=(2**40,), raw_data=b"")]), "range")
    e.case("T05", relu_with([tensor(dims=(0, 2**62), raw_data=b"")]), "ok|limit")
    for values, expect in (([], "range"), ([1.0], "ok"), ([1.0, 2.0], "range")):
        e.case("T06", relu_with([tensor(dims=(), float_data=values)]), expect)
    e.case("T06", relu_with([tensor(dims=(1,) * 65, float_data=[1.0])]), "limit")
    e.case("T06", relu_with([tensor(dims=(1,) * 1_000_000, float_data=[1.0])]), "limit")
    for dtype in (0, 27, 99, -1, 2**31 - 1):
        raw = field(1, 1) + field(2, dtype) + field(8, "w") + field(9, b"1234")
        e.case("T07", model().SerializeToString() + field(7, field(5, raw)), "type")
    e.case("T08", relu_with([tensor(raw_data=b"1234", float_data=[1.0])]), "type")
    e.case("T08", relu_with([tensor(int64_data=[1])]), "type")
    for dtype, value in ((2, 256), (2, -1), (3, 128), (10, 65536), (16, -1), (6, 2**31 - 1)):
        e.case("T08", relu_with([tensor(dtype=dtype, int32_data=[value])]), "ok" if dtype == 6 else "range")
    e.case("T09", relu_with([tensor(dtype=8, raw_data=b"x")]), "type")
    e.case("T09", relu_with([tensor(dtype=8, dims=(2,), string_data=[b"x"])]), "type|range")
    for dtype, per_byte in ((21, 2), (22, 2), (23, 2), (25, 4), (26, 4)):
        exact = -(-5 // per_byte)
        for size in (exact - 1, exact, exact + 1):
            e.case("T10", relu_with([tensor(dtype=dtype, dims=(5,), raw_data=b"\0" * size)]), "ok" if size == exact else "range", f"type{dtype}")
    e.case("T11", relu_with([tensor(dtype=9, dims=(2,), raw_data=b"\x02\xff")]), "ok|type")
    bits = struct.pack("<6I", 0x7FC00000, 0x7F800000, 0xFF800000, 1, 0x7F800001, 0x80000000)
    e.case("T12", relu_with([tensor(dims=(6,), raw_data=bits)]), "ok")

    def sparse(dims, values, shape, indices):
        made = model()
        body = made.graph.sparse_initializer.add(dims=dims)
        body.values.CopyFrom(tensor(dims=(len(values),), float_data=values))
        body.indices.CopyFrom(tensor("", INT64, shape, int64_data=indices))
        return made
    for dims, values, shape, indices in (([4], [1.0, 2.0], [2], [0, 4]), ([4], [1.0, 2.0], [2], [-1, 0]), ([4], [1.0, 2.0], [2], [3, 0]), ([4], [1.0, 2.0], [2], [3, 3]),
                                         ([1], [1.0, 2.0], [2], [0, 1]), ([4], [1.0, 2.0], [2, 2], [0, 0, 1, 1]), ([2, 2], [1.0, 2.0], [2, 3], [0, 0, 0, 1, 1, 1])):
        e.case("T13", sparse(dims, values, shape, indices), "range")
    e.case("T13", sparse([4], [1.0, 2.0], [2], [0, 3]), "unsupported", "legal")
    segmented = tensor(float_data=[1.0])
    segmented.segment.begin = 0
    e.case("T14", relu_with([segmented]), "unsupported")
    e.case("T15", relu_with([tensor("", float_data=[1.0])]), "graph")
    e.case("T15", relu_with([tensor(float_data=[1.0])] * 2), "graph")
    e.case("T15", relu_with([tensor(float_data=[1.0])]), "ok", "unused")
    both = sparse([4], [1.0, 2.0], [2], [0, 3])
    both.graph.initializer.append(tensor(float_data=[1.0]))
    e.case("T15", both, "graph", "dense-and-sparse")
    e.case("T16", relu_with([constant("x", [1, 2])]), "type")
    e.case("T16", relu_with([tensor("x", dims=(3,), float_data=[1.0, 2.0, 3.0])]), "type")
    e.case("T16", relu_with([tensor("x", dims=(2,), float_data=[1.0, 2.0])]), "ok")
    e.case("T17", relu_with([tensor(dtype=14, float_data=[1.0, 2.0, 3.0])]), "range")
    e.case("T18", model(graph([node("Reshape", ["x", "shape"], ["y"])], [constant("shape", [1] * 1_000_000)])), "limit", stage="import")


def externals(e):
    def case(row, keys, expect, note=None, **kinds):
        e.case(row, relu_with([external(keys, **kinds)]), expect, note)

    def located(row, location, expect, note=None):
        case(row, [("location", location)], expect, note)
    e.write("data/w.bin", bytes(range(16)))
    e.write("w.bin", bytes(range(16)))
    e.write("small.bin", bytes(range(10)))
    outside = os.path.join(os.path.dirname(os.path.abspath(e.root)), os.path.basename(os.path.abspath(e.root)) + "-outside.bin")
    with open(outside, "wb") as out:
        out.write(b"secret--secret--")
    escape = "../" + os.path.basename(outside)
    located("X01", escape, "path")
    located("X01", "../../../etc/passwd", "path")
    for location in (f"a/../{escape}", f"./{escape}", f"a//../{escape}", f"a/./../{escape}", f"data/../{escape}", "data/..", "data/../w.bin"):
        located("X02", location, "path")
    for location in ("/etc/passwd", "C:\\x", "\\\\host\\share", "file:///etc/passwd"):
        located("X03", location, "path")
    for location in ("~/x", "$HOME/x"):
        located("X03", location, "path|io")
    os.symlink(outside, os.path.join(e.root, "link-out"))
    os.symlink(escape, os.path.join(e.root, "link-out-relative"))
    located("X04", "link-out", "path")
    located("X04", "link-out-relative", "path")
    os.symlink("..", os.path.join(e.root, "up"))
    os.symlink("/etc", os.path.join(e.root, "etc"))
    located("X05", "up/" + os.path.basename(outside), "path")
    located("X05", "etc/passwd", "path")
    os.link(outside, os.path.join(e.root, "hard"))
    located("X06", "hard", "path")
    os.symlink("data/w.bin", os.path.join(e.root, "link-in"))
    located("X07", "link-in", "path")
    blob = e.write("hub/blobs/0123", bytes(range(16)))
    os.makedirs(os.path.join(e.root, "hub/snapshots/a"))
    os.symlink("../../blobs/0123", os.path.join(e.root, "hub/snapshots/a/w.bin"))
    snapshot = e.write("hub/snapshots/a/model.onnx", relu_with([external([("location", "w.bin")])]).SerializeToString())
    assert os.path.exists(blob)
    e.cases.append({"id": "X07-hub", "path": snapshot, "kind": "onnx", "expect": "path", "stage": "read"})
    os.symlink("loop-b", os.path.join(e.root, "loop-a"))
    os.symlink("loop-a", os.path.join(e.root, "loop-b"))
    os.symlink("nowhere", os.path.join(e.root, "dangling"))
    located("X09", "loop-a", "path|io")
    located("X09", "dangling", "path|io")
    os.mkfifo(os.path.join(e.root, "pipe"))
    for location in ("data", "pipe", "data/w.bin/x"):
        located("X10", location, "path|io")
    os.symlink("/dev/zero", os.path.join(e.root, "zero"))
    os.symlink("/proc/self/mem", os.path.join(e.root, "mem"))
    located("X10", "zero", "path")
    located("X10", "mem", "path")
    located("X11", "", "path|format", "empty")
    case("X11", [("offset", "0")], "path|format", "absent")
    case("X11", [("location", "w.bin"), ("location", "small.bin")], "path|format", "twice")
    located("X11", "a" * 2**20, "path|format", "long")
    for location in ("w.bin\0x", "w.bin\n"):
        located("X11", location, "path|format")
    raw = field(1, 2) + field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, b"\xff\xfe")) + field(14, 1)
    e.case("X11", model().SerializeToString() + field(7, field(5, raw)), "path|format", "not-utf8")
    for offset in ("-1", "abc", "1e3", " 4", "0x10", "18446744073709551616", "4.0", "", "+4", "4 "):
        case("X12", [("location", "w.bin"), ("offset", offset)], "range")
    for length in ("-1", "0", str(2**60)):
        case("X13", [("location", "small.bin"), ("length", length)], "range")
    case("X13", [("location", "small.bin"), ("length", str(2**60))], "range", dims=(2**58,))
    for offset in (2**64 - 4, 16, 9, 2**63):
        case("X14", [("location", "w.bin"), ("offset", str(offset)), ("length", "8")], "range")
    case("X14", [("location", "w.bin"), ("offset", "8"), ("length", "8")], "ok", "fits")
    for length in ("7", "9", "4", "16"):
        case("X15", [("location", "w.bin"), ("length", length)], "range")
    case("X16", [("location", "w.bin")], "ok", "file-longer")
    case("X16", [("location", "small.bin")], "range", "file-shorter", dims=(3,))
    for key in ("evil_attr", "__class__"):
        case("X17", [("location", "w.bin"), (key, "x")], "ok|format")
    case("X17", [("location", "w.bin")] + [(f"k{i}", "x") for i in range(100_000)], "limit|format")
    for checksum in ("0" * 40, "x", "56178B86A57FAC22899A9964185C2CC96E7DA589", ""):
        case("X18", [("location", "w.bin"), ("checksum", checksum)], "verify")
    case("X18", [("location", "w.bin"), ("checksum", "56178b86a57fac22899a9964185c2cc96e7da589")], "ok", "right")
    both = external([("location", "w.bin")])
    both.raw_data = b"12345678"
    e.case("X19", relu_with([both]), "format")
    case("X19", [], "format", "no-keys")
    e.case("X19", relu_with([external([("location", "w.bin")], location=0)]), "format")
    for location in (2, -1):
        raw = field(1, 2) + field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, "w.bin")) + field(14, location)
        e.case("X20", model().SerializeToString() + field(7, field(5, raw)), "format")
    e.case("X21", relu_with([external([("location", "w.bin")], f"w{i}") for i in range(10_000)]), "ok", "overlap")
    for i in range(400):
        e.write(f"many/{i}", b"12345678")
    e.case("X21", relu_with([external([("location", f"many/{i}")], f"w{i}") for i in range(400)]), "ok", "files")
    bad = external([("location", escape)])
    hidden = node("Constant", [], ["c"], value=bad)
    no = branch([node("Neg", ["x"], ["d"])], "d")
    e.case("X22", model(graph([node("Relu", ["x"], ["y"]), hidden])), "path", "attribute")
    e.case("X22", model(graph(), [function("f", ["a"], ["c"], [hidden])]), "path", "function")
    e.case("X22", model(graph([node("If", ["x"], ["y"], then_branch=branch([hidden], "c"), else_branch=no)])), "path", "branch")
    spread = model()
    body = spread.graph.sparse_initializer.add(dims=[4])
    body.values.CopyFrom(bad)
    body.indices.CopyFrom(tensor("", INT64, (2,), int64_data=[0, 1]))
    e.case("X22", spread, "path|unsupported", "sparse")
    case("X23", [("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "140737488355328"), ("length", "8")], "path")
    for offset in (1, 3, 7):
        case("X26", [("location", "w.bin"), ("offset", str(offset)), ("length", "8")], "ok")


def shapes(e):
    def case(row, nodes, expect="range", initializers=(), inputs=None, note=None, outputs=None):
        e.case(row, model(graph(nodes, initializers, inputs, outputs)), expect, note, stage="import")
    square = [info("x", (4, 4))]

    def slice_case(starts, ends, axes, steps, inputs=square, expect="range"):
        case("S03", [node("Slice", ["x", "s", "e", "a", "t"], ["y"])], expect, [constant("s", starts), constant("e", ends), constant("a", axes), constant("t", steps)], inputs)
    slice_case([0], [I64MAX], [0], [0])
    slice_case([0, 0], [1], [0], [1])
    slice_case([0], [1], [7], [1])
    slice_case([0], [1], [I64MIN], [1])
    slice_case([0, 0], [1, 1], [0, 0], [1, 1])
    slice_case([0], [I64MAX], [0], [1], [info("x", (0, 4))], "ok|range")
    case("S04", [node("Tile", ["x", "r"], ["y"])], initializers=[constant("r", [-1, 1])], inputs=square)
    case("S04", [node("Tile", ["x", "r"], ["y"])], "range|limit", [constant("r", [2**40, 2**40])], square)
    case("S04", [node("Expand", ["x", "r"], ["y"])], "range|limit", [constant("r", [2**62, 4, 4])], square)
    case("S04", [node("Pad", ["x", "p"], ["y"])], initializers=[constant("p", [-5, 0, 0, 0])], inputs=square)
    for target in ([-1, -1], [5, 3], [-2, 4], [I64MAX, I64MAX], [0, 0, 0], [-1, 3]):
        case("S05", [node("Reshape", ["x", "r"], ["y"])], "range|limit", [constant("r", target)], square)
    e.case("S05", model(graph([node("Reshape", ["x", "r"], ["y"], allowzero=1)], [constant("r", [0, -1])], square)), "range", stage="import")
    for sizes in ([1, 1], [-1, 5], [5, 0]):
        case("S06", [node("Split", ["x", "n"], ["y", "z"])], initializers=[constant("n", sizes)], inputs=square)
    case("S06", [node("Split", ["x"], ["y"], num_outputs=0)], inputs=square)
    case("S06", [node("SplitToSequence", ["x", "n"], ["q"]), node("SequenceAt", ["q", "i"], ["y"])], initializers=[scalar("n", 0), scalar("i", 0)], inputs=square)
    case("S06", [node("SplitToSequence", ["x", "n"], ["q"]), node("SequenceAt", ["q", "i"], ["y"])], initializers=[scalar("n", 2), scalar("i", 5)], inputs=square)
    case("S07", [node("Concat", ["x", "x"], ["y"], axis=2)], inputs=square)
    case("S07", [node("Concat", ["x", "z"], ["y"], axis=0)], inputs=square + [info("z", (4,))])
    case("S07", [node("Concat", ["x", "z"], ["y"], axis=0)], inputs=square + [info("z", (4, 5))])
    case("S07", [node("Concat", [], ["y"], axis=0)], "range|graph", inputs=square)
    for index in (-5, 4, I64MIN):
        case("S08", [node("Gather", ["x", "i"], ["y"])], initializers=[scalar("i", index)], inputs=square)
    for axis in (I64MIN, 2, -3):
        case("S08", [node("Gather", ["x", "i"], ["y"], axis=axis)], initializers=[scalar("i", 0)], inputs=square)
    for shape in ((1, 3), (1, 0)):
        indices = helper.make_tensor("i", INT64, shape, [0] * (shape[0] * shape[1]))
        case("S09", [node("GatherND", ["x", "i"], ["y"])], "range|ok" if shape[1] == 0 else "range", [indices], square)
    case("S09", [node("GatherND", ["x", "i"], ["y"], batch_dims=2)], initializers=[helper.make_tensor("i", INT64, [4, 1], [0] * 4)], inputs=square)
    for perm in ([0, 0], [0], [0, 2], [1, 0, 2], [-1, 0]):
        case("S10", [node("Transpose", ["x"], ["y"], perm=perm)], inputs=square)
    case("S11", [node("Squeeze", ["x", "a"], ["y"])], initializers=[constant("a", [0])], inputs=square)
    case("S11", [node("Unsqueeze", ["x", "a"], ["y"])], initializers=[constant("a", [0, 0])], inputs=square)
    case("S11", [node("Unsqueeze", ["x", "a"], ["y"])], initializers=[constant("a", [9])], inputs=square)
    case("S12", [node("Gemm", ["x", "x"], ["y"])], inputs=[info("x", (4,))])
    case("S12", [node("Gemm", ["x", "x"], ["y"])], inputs=[info("x", (4, 4, 4))])
    case("S12", [node("MatMul", ["x", "z"], ["y"])], inputs=square + [info("z", ())])
    case("S12", [node("MatMul", ["x", "z"], ["y"])], inputs=square + [info("z", (5, 4))])
    case("S12", [node("MatMul", ["x", "z"], ["y"])], "ok|range", inputs=[info("x", (4, 0)), info("z", (0, 4))])
    for start, limit, delta, dtype in ((0, 5, 0, INT64), (0, 2**62, 1, INT64), (0.0, float("inf"), 1.0, FLOAT), (0.0, 5.0, float("nan"), FLOAT)):
        values = [scalar(name, value, dtype) for name, value in (("s", start), ("l", limit), ("d", delta))]
        case("S13", [node("Range", ["s", "l", "d"], ["r"]), node("Relu", ["x"], ["y"])], "range|limit", values)
    for dims in ([2**31, 2**31], [-1], [2**40]):
        case("S14", [node("ConstantOfShape", ["r"], ["c"]), node("Relu", ["x"], ["y"])], "range|limit", [constant("r", dims)])
    bomb = [node("Concat", ["w" if i == 0 else f"c{i - 1}"] * 2, [f"c{i}"], axis=0) for i in range(30)]
    case("S15", bomb + [node("Relu", ["c29"], ["y"])], "ok|limit", [constant("w", [1.0], FLOAT)])
    for op in ("Div", "Mod"):
        case("S16", [node(op, ["w", "v"], ["c"]), node("Relu", ["x"], ["y"])], "ok|range", [constant("w", [1]), constant("v", [0])])
        case("S16", [node(op, ["w", "v"], ["c"]), node("Relu", ["x"], ["y"])], "ok|range", [constant("w", [I64MIN]), constant("v", [-1])])
    case("S17", [node("Cast", ["w"], ["c"], to=INT64), node("Relu", ["x"], ["y"])], "ok|range", [constant("w", [float("nan"), 1e30], FLOAT)])
    for equation in ("ij,jk->i?", "ij->ii", "i...j...->i", "ij,jk", "a" * 100 + "->a", "ij->" + "k" * 2**20, "->", "i"):
        e.case("S19", model(graph([node("Einsum", ["x"], ["y"], equation=equation)], inputs=square)), "format|range|graph", stage="import")
    heads = [info("x", (1, 3, 2, 8)), info("k", (1, 2, 2, 8))]
    e.case("S20", model(graph([node("Attention", ["x", "k", "k"], ["y"])], inputs=heads), opsets=[("", 23)]), "range", stage="import")
    flat = [info("x", (1, 2, 10))]
    e.case("S20", model(graph([node("Attention", ["x", "x", "x"], ["y"], q_num_heads=3, kv_num_heads=3)], inputs=flat), opsets=[("", 23)]), "range", stage="import")
    e.case("S20", model(graph([node("Attention", ["x", "x", "x"], ["y"], q_num_heads=2, kv_num_heads=0)], inputs=flat), opsets=[("", 23)]), "range", stage="import")
    case("S22", [node("ReduceSum", ["x", "a"], ["y"])], initializers=[constant("a", [2])], inputs=square)
    case("S22", [node("ReduceMax", ["x", "a"], ["y"])], "range|ok", [constant("a", [0])], [info("x", (0, 4))])
    for axis in (2, -3, I64MIN):
        case("S24", [node("LayerNormalization", ["x", "w"], ["y"], axis=axis)], "range", [helper.make_tensor("w", FLOAT, [4], [1.0] * 4)], square)
        case("S24", [node("Softmax", ["x"], ["y"], axis=axis)], "range", inputs=square)
    for epsilon in (-1.0, float("nan")):
        case("S24", [node("LayerNormalization", ["x", "w"], ["y"], epsilon=epsilon)], "range|ok", [helper.make_tensor("w", FLOAT, [4], [1.0] * 4)], square)
    for other, expect in (((1,), "ok"), ((2,), "range"), ((3, 0), "ok")):
        case("S27", [node("Add", ["x", "z"], ["y"])], expect if expect == "range" else "ok|range", inputs=[info("x", (0,)), info("z", other)])
    case("S27", [node("Add", ["x", "z"], ["y"])], "range", inputs=square + [info("z", (3,))])


def emit(root):
    os.makedirs(root, exist_ok=True)
    e = Emitter(root)
    for family in (wire, graphs, tensors, externals, shapes):
        family(e)
    return e.cases


def remove(root):
    """Removes what emit() wrote, the file beside `root` too."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files + folders:
            path = os.path.join(folder, name)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.rmdir(path)
            else:
                os.unlink(path)
    os.rmdir(root)
    beside = os.path.abspath(root) + "-outside.bin"
    if os.path.exists(beside):
        os.unlink(beside)


if __name__ == "__main__":
    cases = emit(sys.argv[1])
    with open(os.path.join(sys.argv[1], "manifest.json"), "w") as out:
        json.dump(cases, out, indent=1)
    print(f"{len(cases)} cases")
