"""Families F01 to F30 and C13: safetensors files and Hugging Face folders as weights, broken ones and legal but odd ones.

emit(folder, fixture) returns [{"id", "path", "kind", "expect"}]: kind is "safetensors", expect is "ok" or the classes of fault that are right,
joined by "|". Legal cases hold the tensors of fixture["weights"] besides what is odd about them, so that they can be bound to its program; without a
fixture they hold only the latter. Standard library only; the same bytes every time; what would be large is sparse.
(The file is not called safetensors.py because that is the name of the package that its neighbours import.)
"""
import json
import os
import struct

U8 = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


def pack(header, data=b"", length=None):
    """A file: header (text, bytes or an object), data; `length` overrides the number in front."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header, separators=(",", ":"))
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="U8", shape=(4,), begin=0, end=4, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


def text_entry(dtype='"U8"', shape="[4]", offsets="[0,4]"):
    """{"a": ...} with any JSON text in its places."""
    return '{"a":{"dtype":%s,"shape":%s,"data_offsets":%s}}' % (dtype, shape, offsets)


GOOD = pack({"a": U8}, b"1234")
BASE = ({}, b"")  # header and data of the fixture's weights


def read_base(path):
    """Header and data of a sound file."""
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        header.pop("__metadata__", None)
        return header, f.read()


def legal(extra, data=b"", tail="", first=True, metadata=None):
    """A sound file: the base's tensors, then (or before them in the header) extra ones whose offsets count from the end of the base's data."""
    header, base = BASE
    moved = {name: {**e, "data_offsets": [o + len(base) for o in e["data_offsets"]]} for name, e in extra.items()}
    both = {**header, **moved} if first else {**moved, **header}
    if metadata is not None:
        both = {"__metadata__": metadata, **both}
    return pack(json.dumps(both, separators=(",", ":")) + tail, base + data)


def framing():
    for n in range(9):
        yield f"F01-{n}-bytes", b"\x02\0\0\0\0\0\0\0{"[:n], "reject"
    for n in (0, 1, 3, 100_000_000, 100_000_001, 2**63, 2**64 - 1, 2**64 - 8):
        yield f"F02-length-{n}", pack("{}", length=n), "reject"
    yield "F03-length-one-too-many", pack({"a": U8}, b"1234", length=len(GOOD) - 8 + 1), "reject"
    for name, head in (("space", b" {}"), ("bom", b"\xef\xbb\xbf{}"), ("list", b"[]"), ("null", b"null"), ("string", b'"x"')):
        yield f"F04-begins-with-{name}", pack(head), "reject"
    yield "F05-padded-with-spaces", legal({"a": U8}, b"1234", tail="     "), "ok"
    yield "F05-metadata-empty", legal({"a": U8}, b"1234", metadata={}), "ok"
    for name, tail in (("nul", b"\0\0\0"), ("ff", b"\xff"), ("garbage", b"x"), ("second-object", b"{}")):
        yield f"F06-padded-with-{name}", pack(json.dumps({"a": U8}).encode() + tail, b"1234"), "reject"
    yield "F30-big-endian-length", struct.pack(">Q", 2) + b"{}", "reject"


def json_faults():
    for name, key in (("ff", b"\xff"), ("overlong", b"\xc0\xaf"), ("encoded-surrogate", b"\xed\xa0\x80"), ("lone-surrogate", b"\\ud800"), ("control", b"\x01"), ("escape", b"\\x")):
        yield f"F07-name-{name}", pack(b'{"' + key + b'":' + json.dumps(U8).encode() + b"}", b"1234"), "reject"
    a, b = json.dumps(entry(shape=[2], end=2)), json.dumps(entry(shape=[2], begin=2))
    yield "F08-tensor-twice", pack('{"a":%s,"a":%s}' % (a, b), b"1234"), "reject"
    yield "F08-tensor-twice-by-escape", pack('{"a":%s,"\\u0061":%s}' % (a, b), b"1234"), "reject"
    yield "F08-metadata-twice", pack('{"__metadata__":{},"__metadata__":{}}'), "reject"
    yield "F08-metadata-key-twice", pack('{"__metadata__":{"k":"1","k":"2"}}'), "reject"
    yield "F08-dtype-twice", pack('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"), "reject"
    for name, text in (("list", "[" * 100_000), ("object", '{"x":' * 100_000)):
        yield f"F09-deep-{name}-in-entry", pack('{"a":{"x":' + text, b"1234"), "reject"
        yield f"F09-deep-{name}-in-metadata", pack('{"__metadata__":{"x":' + text, b"1234"), "reject"
    yield "F09-trailing-comma", pack('{"a":%s,}' % json.dumps(U8), b"1234"), "reject"
    yield "F09-single-quotes", pack("{'a':1}"), "reject"


def layout():
    def two(b0, e0, b1, e1, size):
        return pack({"a": entry(shape=[e0 - b0], begin=b0, end=e0), "b": entry(shape=[e1 - b1], begin=b1, end=e1)}, b"x" * size)

    yield "F10-hole", two(0, 4, 5, 8, 8), "reject"
    yield "F11-overlap", two(0, 5, 4, 8, 8), "reject"
    yield "F11-alias", two(0, 8, 0, 8, 8), "reject"
    yield "F12-trailing-byte", two(0, 4, 4, 8, 9), "reject"
    yield "F12-byte-short", two(0, 4, 4, 8, 7), "reject"
    yield "F13-first-begin", two(1, 4, 4, 8, 8), "reject"
    for name, begin, end in (("reversed", 4, 0), ("begin-max", 2**64 - 1, 3), ("wraps", 2**64 - 4, 2**64), ("both-max", 2**64 - 1, 2**64 - 1)):
        yield f"F14-{name}", pack({"a": entry(begin=begin, end=end)}, b"1234"), "reject"
    for shape in ([0], [3], [5], [2, 3]):
        yield f"F15-shape-{'x'.join(map(str, shape))}", pack({"a": entry(shape=shape)}, b"1234"), "reject"
    yield "F15-byte-more", pack({"a": entry("F32", [1], 0, 5)}, b"12345"), "reject"
    yield "F15-byte-less", pack({"a": entry("F32", [1], 0, 3)}, b"123"), "reject"
    yield "F16-product-wraps", pack({"a": entry(shape=[4194305, 4194305, 211106198978564])}, b"1234"), "reject"
    yield "F16-bytes-wrap", pack({"a": entry("F64", [2**61], 0, 0)}), "reject"
    yield "F20-rank-0", legal({"a": entry("F32", [], 0, 4)}, b"1234"), "ok"
    yield "F20-empty-tensors", legal({"a": entry("F32", [0, 5], 0, 0), "b": U8, "c": entry("F32", [5, 0], 4, 4), "d": entry("I8", [0], 4, 4)}, b"1234"), "ok"
    yield "F21-empty-inside-another", pack({"a": U8, "b": entry("F32", [0], 2, 2)}, b"1234"), "reject"
    yield "F22-odd-f4", pack({"a": entry("F4", [7], 0, 4)}, b"1234"), "reject"
    yield "F22-odd-f6", pack({"a": entry("F6_E2M3", [5], 0, 4)}, b"1234"), "reject"
    yield "F22-even-f4", legal({"a": entry("F4", [8], 0, 4)}, b"1234"), "ok"
    yield "F29-order-of-entries", legal({"b": entry(shape=[2], begin=2), "a": entry(shape=[2], end=2)}, b"1234", first=False), "ok"


def types():
    for i, dim in enumerate(("-1", "1.0", "1e3", '"2"', "null", "18446744073709551616", "true", "[4]", "{}")):
        yield f"F17-dim-{i}", pack(text_entry(shape=f"[{dim}]"), b"1234"), "reject"
    yield "F17-shape-number", pack(text_entry(shape="4"), b"1234"), "reject"
    yield "F17-rank-65", pack(text_entry(shape="[" + ",".join(["1"] * 64 + ["4"]) + "]"), b"1234"), "reject"
    for i, offsets in enumerate(("[0]", "[0,4,8]", "[]", "[0.0,4]", "[-1,4]", '["0","4"]', "null", "[0,18446744073709551616]", "[0,4e0]")):
        yield f"F18-offsets-{i}", pack(text_entry(offsets=offsets), b"1234"), "reject"
    for i, dtype in enumerate(('"F128"', '"f32"', '""', "32", "null")):
        yield f"F19-dtype-{i}", pack(text_entry(dtype=dtype), b"1234"), "reject"
    for missing in ("dtype", "shape", "data_offsets"):
        yield f"F19-without-{missing}", pack({"a": {k: v for k, v in U8.items() if k != missing}}, b"1234"), "reject"
    yield "F19-entry-is-number", pack('{"a":1}'), "reject"
    yield "F19-unknown-key", legal({"a": entry(extra=[1, {}])}, b"1234"), "ok"
    for i, value in enumerate(("1", "null", "{}", "[]")):
        yield f"F23-metadata-{i}", pack('{"__metadata__":{"k":%s}}' % value), "reject"
    yield "F23-metadata-list", pack('{"__metadata__":[]}'), "reject"
    yield "F23-metadata-million", pack({"__metadata__": {str(i): "" for i in range(1_000_000)}}), "reject"


def sizes_and_names():
    many = {f"t{i}": entry(shape=[1], begin=i, end=i + 1) for i in range(100_000)}
    yield "F24-100000-tensors", legal(many, b"x" * 100_000), "ok"
    yield "F24-2000000-tensors", pack("{" + ",".join('"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(1_500_000)) + "}"), "reject"
    for name, key in (("empty", ""), ("long", "x" * 2**20), ("path", "../../x"), ("nul", "\0"), ("escape-sequence", "\x1b[31m"), ("right-to-left", "\u202e")):
        yield f"F25-name-{name}", legal({key: U8}, b"1234"), "ok"
    yield "F26-zip-inside-data", legal({"a": U8}, b"PK\3\4"), "ok"
    yield "F26-zip-appended", GOOD + b"PK\3\4" + b"x" * 20, "reject"
    yield "F26-elf-appended", GOOD + b"\x7fELF" + b"x" * 60, "reject"
    for name, head in (("zip", b"PK\3\4"), ("pickle", b"\x80\4\x95"), ("gguf", b"GGUF"), ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), ("html", b"<!doctype html>"), ("gzip", b"\x1f\x8b")):
        yield f"C13-is-{name}", head + b"\0" * 100, "reject"
    for size in range(0, len(GOOD), 7):
        yield f"F12-truncated-at-{size}", GOOD[:size], "reject"


def tensor(name="a", value=b"1234"):
    return pack({name: entry("F32", [1], 0, 4)}, value)


def folders():
    """name -> ({file: contents}, [(kind of link, link, target)], expect)"""
    def index(weight_map):
        return {"model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}

    two = {"1.safetensors": tensor("a"), "2.safetensors": tensor("b")}
    good = {"a": "1.safetensors", "b": "2.safetensors"}
    base = {name: "1.safetensors" for name in BASE[0]}
    extra = legal({"a": entry("F32", [1], 0, 4)}, b"1234")
    yield "F27-good", {"1.safetensors": extra, "2.safetensors": tensor("b"), **index({**base, **good})}, [], "ok"
    yield "F27-good-single", {"model.safetensors": extra}, [], "ok"
    for i, shard in enumerate(("../outside.safetensors", "sub/../../outside.safetensors", "/etc/passwd", "", "C:\\x", "x\0y", "~/x", "absent", ".")):
        yield f"F27-shard-{i}", {**two, **index({"a": shard, "b": "2.safetensors"})}, [], "reject"
    yield "F27-symlink-outside", {**two, **index({"a": "link", "b": "2.safetensors"})}, [("symbolic", "link", "../outside.safetensors")], "reject"
    yield "F27-symlink-inside", {**two, **index({"a": "link", "b": "2.safetensors"})}, [("symbolic", "link", "1.safetensors")], "reject"
    yield "F27-symlink-folder", {**two, **index({"a": "link/outside.safetensors", "b": "2.safetensors"})}, [("symbolic", "link", "..")], "reject"
    yield "F27-symlink-loop", {**two, **index({"a": "l1", "b": "2.safetensors"})}, [("symbolic", "l1", "l2"), ("symbolic", "l2", "l1")], "reject"
    yield "F27-hardlink", {**two, **index({"a": "link", "b": "2.safetensors"})}, [("hard", "link", "../outside.safetensors")], "reject"
    yield "F27-fifo", {**two, **index({"a": "pipe", "b": "2.safetensors"})}, [("fifo", "pipe", "")], "reject"
    yield "F27-shard-lacks-tensor", {**two, **index({**good, "c": "2.safetensors"})}, [], "reject"
    yield "F27-wrong-shard", {**two, **index({"a": "2.safetensors", "b": "2.safetensors"})}, [], "reject"
    yield "F27-tensor-in-two-shards", {**two, "3.safetensors": tensor("a"), **index({**good, "c": "3.safetensors"})}, [], "reject"
    yield "F27-listed-twice", {**two, "model.safetensors.index.json": b'{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}'}, [], "reject"
    for i, text in enumerate((b"", b"[]", b"{}", b'{"weight_map":[]}', b'{"weight_map":{"a":1}}', b'{"weight_map":{},"weight_map":{}}', b'{"weight_map":' * 10_000, b"\xff\xfe")):
        yield f"F27-index-{i}", {**two, "model.safetensors.index.json": text}, [], "reject"
    yield "F27-empty-folder", {}, [], "reject"
    yield "F27-broken-shard", {**two, "2.safetensors": b"junk", **index(good)}, [], "reject"
    yield "C13-only-pickle", {"pytorch_model.bin": b"PK\3\4"}, [], "reject"
    yield "C13-config-is-no-json", {"model.safetensors": tensor(), "config.json": b"{'tie_word_embeddings': True}"}, [], "reject"


LINKS = {"symbolic": lambda target, link: os.symlink(target, link), "fifo": lambda target, link: os.mkfifo(link),
         "hard": lambda target, link: os.link(os.path.normpath(os.path.join(os.path.dirname(link), target)), link)}


# The classes of fault that are right, by the beginning of the id; the first that fits counts.
CLASSES = (
    ("F02", "format|limit"), ("F09", "format|limit"), ("F10", "range"), ("F11", "range"), ("F12-truncated", "format|range"), ("F12", "range"), ("F13", "range"), ("F14-wraps", "type|range"),
    ("F14", "range"), ("F15", "range"), ("F16", "range"), ("F17-rank", "limit"), ("F17", "type"), ("F18", "type"), ("F19", "type|format"), ("F21", "range"), ("F22", "range"),
    ("F23-metadata-million", "limit"), ("F23", "type"), ("F24", "limit"), ("F26", "range"), ("F27", "path|graph|io|format|type|limit"), ("F30", "format|limit"), ("F", "format"),
    ("C13-empty", "io"), ("C13-config", "format"), ("C13", "unsupported|format|limit"),
)


def emit(folder, fixture=None):
    global BASE
    BASE = read_base(fixture["weights"]) if fixture else ({}, b"")
    cases = []
    os.makedirs(folder, exist_ok=True)

    def add(name, path, expect):
        classes = next(classes for prefix, classes in CLASSES if name.startswith(prefix))
        cases.append({"id": "weights-" + name, "path": path, "kind": "safetensors", "expect": expect if expect == "ok" else classes})

    for family in (framing, json_faults, layout, types, sizes_and_names):
        for name, contents, expect in family():
            path = os.path.join(folder, name + ".safetensors")
            with open(path, "wb") as f:
                f.write(contents)
            add(name, path, expect)
    sparse = os.path.join(folder, "F12-sparse-1TiB.safetensors")
    with open(sparse, "wb") as f:
        f.write(GOOD)
        f.truncate(2**40)
    add("F12-sparse-1TiB", sparse, "reject")
    with open(os.path.join(folder, "outside.safetensors"), "wb") as f:
        f.write(tensor())
    for name, files, links, expect in folders():
        path = os.path.join(folder, name)
        os.makedirs(path)
        for file, contents in files.items():
            with open(os.path.join(path, file), "wb") as f:
                f.write(contents)
        for kind, link, target in links:
            LINKS[kind](target, os.path.join(path, link))
        add(name, path, expect)
    return cases
