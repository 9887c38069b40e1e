"""Broken program files, made from a valid one by changing it in one place.

emit(folder, valid) -> cases, where valid is a program's path or run.py's fixture; see run.py. Fields are changed where they lie, through
the FlatBuffer's own tables, and the checksum is made right again, so that the check behind it has to find the fault. A field that the
valid program leaves out (a default) is skipped.

    program.py CHECKER VALID    emits into a temporary folder, asks test/runtime/program/check_program for its verdicts, judges them
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(os.path.dirname(os.path.dirname(HERE)), "runtime", "program", "Program.fbs")
PREAMBLE = 64
MASK = (1 << 64) - 1
SIZES = {"bool": "B", "ubyte": "B", "int": "i", "uint": "I", "long": "q", "ulong": "Q", "float": "f", "double": "d"}
OPERAND = {"buffer": (0, "I"), "access": (4, "B"), "byte_offset": (8, "q"), "extent": (16, "q")}
KINDS = [None, "KernelCall", "Gemm", "Copy", "Fill", "HostCall", "RowLoop", "MoveRows", "Update"]
OPERANDS = {"Copy": ("dst", "src"), "Fill": ("dst",), "RowLoop": ("mask", "indices"), "MoveRows": ("indices", "from", "to"),
            "Update": ("gradient",)}
HUGE = (1 << 63) - 1


def hash64(data):
    """XXH64 with seed 0, as runtime/program/Hash.h."""
    p1, p2, p3, p4, p5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
    rotl = lambda x, r: ((x << r) | (x >> (64 - r))) & MASK
    turn = lambda lane, value: rotl((lane + value * p2) & MASK, 31) * p1 & MASK
    h, at, size = p5, 0, len(data)
    if size >= 32:
        a, b, c, d = (p1 + p2) & MASK, p2, 0, -p1 & MASK
        for w, x, y, z in struct.iter_unpack("<4Q", data[: size // 32 * 32]):
            a, b, c, d = turn(a, w), turn(b, x), turn(c, y), turn(d, z)
        h = (rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18)) & MASK
        for lane in (a, b, c, d):
            h = ((h ^ turn(0, lane)) * p1 + p4) & MASK
        at = size // 32 * 32
    h = (h + size) & MASK
    while size - at >= 8:
        h = (rotl(h ^ turn(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & MASK
        at += 8
    if size - at >= 4:
        h = (rotl(h ^ (struct.unpack_from("<I", data, at)[0] * p1 & MASK), 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ (byte * p5 & MASK), 11) * p1 & MASK
    h = (h ^ h >> 33) * p2 & MASK
    h = (h ^ h >> 29) * p3 & MASK
    return h ^ h >> 32


def seal(buffer):
    """The file for a FlatBuffer: preamble with the right size and checksum."""
    return b"GRAFTPRG" + struct.pack("<IIQQ", 1, 0, len(buffer), hash64(bytes(buffer))) + bytes(32) + bytes(buffer)


def read_schema():
    """table -> {field: (id, type)}; a union takes two ids, the first for its kind."""
    text = re.sub(r"//.*", "", open(SCHEMA, encoding="utf-8").read())
    tables = {}
    for name, body in re.findall(r"table (\w+) \{(.*?)\}", text, re.S):
        fields, number = {}, 0
        for field, kind in re.findall(r"(\w+):(\[?\w+\]?)", re.sub(r"\(.*?\)", "", body)):
            if kind == "Operation":
                fields[field + "_type"], number = (number, "ubyte"), number + 1
            fields[field], number = (number, kind), number + 1
        tables[name] = fields
    return tables


TABLES = read_schema()


class Table:
    """A table in a FlatBuffer: where its fields lie."""

    def __init__(self, data, at, kind):
        self.data, self.at, self.kind = data, at, kind

    def slot(self, field):
        """Where the vtable says where the field is; None if it ends before."""
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        entry = 4 + 2 * TABLES[self.kind][field][0]
        return vtable + entry if entry < struct.unpack_from("<H", self.data, vtable)[0] else None

    def where(self, field):
        """Where the field is; None if it is left out."""
        slot = self.slot(field)
        offset = struct.unpack_from("<H", self.data, slot)[0] if slot else 0
        return self.at + offset if offset else None

    def target(self, field):
        at = self.where(field)
        return at and at + struct.unpack_from("<I", self.data, at)[0]

    def text(self, field):
        at = self.target(field)
        return bytes(self.data[at + 4 : at + 4 + struct.unpack_from("<I", self.data, at)[0]])

    def get(self, field):
        at = self.where(field)
        code = SIZES.get(TABLES[self.kind][field][1], "B")  # enumerations are bytes
        return struct.unpack_from("<" + code, self.data, at)[0] if at else 0

    def sub(self, field, kind=None):
        at = self.target(field)
        return Table(self.data, at, kind or TABLES[self.kind][field][1]) if at else None

    def items(self, field):
        """Tables of a vector, or the positions of its scalars and structs."""
        at, kind = self.target(field), TABLES[self.kind][field][1].strip("[]")
        if not at:
            return []
        count = struct.unpack_from("<I", self.data, at)[0]
        if kind in TABLES:
            places = [at + 4 + 4 * i for i in range(count)]
            return [Table(self.data, p + struct.unpack_from("<I", self.data, p)[0], kind) for p in places]
        if kind == "string":
            places = [at + 4 + 4 * i for i in range(count)]
            return [p + struct.unpack_from("<I", self.data, p)[0] for p in places]
        first, size = (at + 4 + 7) // 8 * 8 if kind in ("Operand", "long") else at + 4, {"Operand": 24, "long": 8}.get(kind, 1)
        return [first + size * i for i in range(count)]


def root(data):
    return Table(data, struct.unpack_from("<I", data, 0)[0], "Program")


class Emitter:
    def __init__(self, folder, file):
        self.folder, self.file, self.cases = folder, file, []
        self.valid = file[PREAMBLE:]

    def add(self, name, content, expect="verify", limit=None):
        path = os.path.join(self.folder, name + ".graft")
        with open(path, "wb") as out:
            out.write(content)
            if limit:
                out.truncate(limit)
        self.cases.append({"id": "program-" + name, "path": path, "kind": "program", "expect": expect})

    def put(self, name, changes, expect="verify"):
        """The valid buffer with (position, struct code, value) written, sealed. Positions of None are fields left out."""
        if any(at is None for at, _, _ in changes):
            return
        data = bytearray(self.valid)
        for at, code, value in changes:
            struct.pack_into("<" + code, data, at, value)
        if data != self.valid:
            self.add(name, seal(data), expect)

    def number(self, name, table, field, values, expect="verify"):
        kind = TABLES[table.kind][field][1]
        for value in values:
            self.put(f"{name}-{field}-{value}".replace("-" + str(HUGE), "-max"), [(table.where(field), SIZES.get(kind, "B"), value)], expect)

    def text(self, name, at, content, expect="verify"):
        """Overwrites a string's bytes; its length stays."""
        length = struct.unpack_from("<I", self.valid, at)[0]
        if len(content) <= length:
            data = bytearray(self.valid)
            data[at + 4 : at + 4 + len(content)] = content
            self.add(name, seal(data), expect)


def emit_bytes(e):
    """A01, A02, A03, A05, A06, A20: the file as a whole."""
    for size in range(8):
        e.add(f"a01-bytes-{size}", e.file[:size], "format")
    e.add("a01-identifier", seal(e.valid[:4] + b"XXXX" + e.valid[8:]), "format")
    e.add("a01-size-prefixed", seal(struct.pack("<I", len(e.valid)) + e.valid), "format")
    e.add("a01-no-preamble", e.valid, "format")
    e.add("a01-text", b"policy\n" * 40, "format")
    e.add("a01-zeros", bytes(4096), "format")
    for value in (0, 1, 3, len(e.valid), len(e.valid) + 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC):
        e.put(f"a02-root-{value}", [(0, "I", value)], "format")
    for size in list(range(64, 2048, 64)) + list(range(4096, len(e.file), max(4096, len(e.file) // 40 // 4096 * 4096))):
        e.add(f"a03-cut-{size}", e.file[:size], "format")
        e.add(f"a03-cut-sealed-{size}", seal(e.valid[: size - PREAMBLE]), "format|verify")
    step = max(1, len(e.valid) // 150)
    for at in range(0, len(e.valid), step):
        for change in (1, 255):
            e.put(f"a03-byte-{at}-{change}", [(at, "B", (e.valid[at] + change) % 256)], "any")
    e.add("a03-longer", e.file + b"\0", "format")
    e.add("a05-two-gib", e.file, "limit", limit=(1 << 31) + 4096)
    e.add("a06-shifted", b"\0" + e.file, "format")
    for name, checksum in (("zero", 0), ("prefix", hash64(e.valid[: len(e.valid) // 2])), ("all-ones", MASK)):
        e.add(f"a20-checksum-{name}", e.file[:24] + struct.pack("<Q", checksum) + e.file[32:], "verify")
    for at, name in ((8, "format-version"), (12, "reserved"), (16, "size"), (63, "padding")):
        e.add(f"a07-preamble-{name}", e.file[:at] + bytes([e.file[at] ^ 2]) + e.file[at + 1 :], "format|unsupported")


def emit_bomb(e):
    """A04: one small table referenced from a million places of a vector."""
    program = root(e.valid)
    at, count = program.where("parameters"), 1_000_001
    if not at:
        return
    data = bytearray(e.valid) + bytes(-len(e.valid) % 8)
    start = len(data)
    struct.pack_into("<I", data, at, start - at)
    tail = start + 4 + 4 * count
    tail += -tail % 8
    table = tail + 8  # vtable of 6 bytes (padded), then the table: offset back to it, offset of its name
    data += struct.pack("<I", count) + b"".join(struct.pack("<I", table - (start + 4 + 4 * i)) for i in range(count))
    data += bytes(tail - len(data)) + struct.pack("<HHHH", 6, 8, 4, 0) + struct.pack("<iI", 8, 4) + struct.pack("<I", 1) + b"x\0\0\0"
    e.add("a04-shared-table", seal(data), "format|limit")


def emit_header(e):
    """A07, A08, A12, A21: versions, absent parts, block sizes, targets."""
    program = root(e.valid)
    e.number("a07", program, "schema_version", (0, 1, 0xFFFFFFFF), "unsupported")
    e.number("a07", program, "required_features", (1, 1 << 63), "unsupported")
    e.text("a21-device", program.target("target"), b"gpu", "unsupported")
    for field in ("parameter_bytes", "gradient_bytes", "state_bytes", "arena_bytes"):
        e.number("a12", program, field, (-64, 1, 1 << 62, HUGE))
    if optimizer := program.sub("optimizer"):
        e.number("a12", optimizer, "in_backward", (0,))
    objects = program.items("objects")
    if objects:
        data = bytearray(e.valid)
        for each in objects:
            if each.text("target").startswith(b"x86"):
                at = each.target("target") + 4
                data[at : at + 9] = b"x86-64-v9"
        e.add("a21-instruction-set", seal(data), "unsupported")
    entry = program.items("entries")[0]
    absent = [(program, f) for f in ("entries", "buffers", "parameters", "kernels", "objects", "target")]
    absent += [(entry, f) for f in ("name", "instructions", "outputs")]
    absent += [(entry.items("instructions")[0], "operation"), (program.items("buffers")[0], "name")]
    for table, field in absent:
        slot = table.slot(field)
        if slot:
            legal = field == "outputs"  # an entry may be run for its gradients only
            e.put(f"a08-no-{table.kind}-{field}", [(slot, "H", 0)], "any" if legal else "format|verify|unsupported")


def emit_objects(e):
    """O01, O06: code that is not what its digest says, and broken shared objects, cubins and PTX with the right digest."""
    for i, each in enumerate(root(e.valid).items("objects")):
        bytes_at, digest = each.target("bytes"), each.where("digest")
        size = struct.unpack_from("<I", e.valid, bytes_at)[0]
        e.put(f"o06-digest-{i}", [(digest, "Q", each.get("digest") ^ 1)])
        e.put(f"o06-bytes-{i}", [(bytes_at + 4 + size // 2, "B", e.valid[bytes_at + 4 + size // 2] ^ 1)])
        elf = {"magic": (0, "B", 0), "class": (4, "B", 1), "machine": (18, "H", 183), "phoff": (32, "Q", MASK)}
        if each.text("target") == b"ptx":
            broken = {"version": (1, "B", 0x76 ^ 1), "control": (20, "B", 7), "byte": (20, "B", 200)}
        elif each.text("target").startswith(b"sm_"):
            broken = elf | {"shoff": (40, "Q", MASK), "shnum": (60, "H", 0xFFFF)}
        else:
            broken = elf | {"type": (16, "H", 2), "phnum": (56, "H", 0xFFFF), "segment-size": (64 + 32, "Q", MASK), "segment-offset": (64 + 8, "Q", MASK)}
        for name, (at, code, value) in broken.items():
            content = bytearray(e.valid[bytes_at + 4 : bytes_at + 4 + size])
            struct.pack_into("<" + code, content, at, value)
            changes = [(bytes_at + 4 + at, code, value), (digest, "Q", hash64(bytes(content)))]
            e.put(f"o01-{name}-{i}", changes, "any" if name.startswith("segment") else "verify")


def emit_tables(e):
    """A11, A12, A13, A22: parameters, buffers, names."""
    program = root(e.valid)
    for i, parameter in enumerate(program.items("parameters")[:3]):
        for field, values in (("offset", (-64, 4, 1 << 40, HUGE)), ("row_pitch", (-1, 0, HUGE)), ("dtype", (1, 200)),
                              ("gradient_offset", (-64, 4, 1 << 40)), ("state_offset", (-64, 4, 1 << 40))):
            expect = "unsupported" if field == "dtype" else "verify"
            e.number(f"a11-parameter{i}", parameter, field, values, expect)
        for at in parameter.items("shape")[:1]:
            for value in (-1, HUGE, 1 << 40):
                e.put(f"a11-parameter{i}-shape-{value}", [(at, "q", value)])
    picked = {}
    for buffer in program.items("buffers"):
        picked.setdefault(buffer.get("storage"), []).append(buffer)
    for storage, buffers in sorted(picked.items()):
        row = "a13-constant" if storage == 3 else f"a12-storage{storage}"
        for i, buffer in enumerate(buffers[:3]):
            for field, values in (("offset", (-64, 4, 1 << 40, 1 << 62, HUGE - 63)), ("size", (-1, 1 << 40, HUGE)), ("dtype", (9, 200)),
                                  ("storage", (4, 255)), ("entry", (-2, 1000, 0x7FFFFFFF)), ("first", (-2, 0x7FFFFFFF)), ("last", (-2, 0x7FFFFFFF))):
                # Lifetimes of what is not in the arena say nothing.
                expect = "any" if storage and field in ("first", "last") else "verify"
                e.number(f"{row}-{i}", buffer, field, values, expect)
            for at in buffer.items("shape")[:1]:
                for value in (-1, HUGE, 1 << 40):
                    e.put(f"a11-{row}-{i}-shape-{value}", [(at, "q", value)])
    names = {"buffer": program.items("buffers")[0], "entry": program.items("entries")[0]}
    names.update({"parameter": each for each in program.items("parameters")[:1]})
    names.update({"output": each for each in program.items("entries")[0].items("outputs")[:1]})
    for what, table in names.items():
        for how, content in (("nul", b"\0"), ("bytes", b"\xff"), ("newline", b"\n"), ("escape", b"\x1b"), ("dots", b"../")):
            e.text(f"a22-{what}-{how}", table.target("name"), content)


def emit_in_place(e):
    """A12: kernels that say of operands they do not have, or do not only read and only write, that these may be one memory; and a program
    whose buffers are one memory although its kernels cannot work in place."""
    vectors = []
    for i, kernel in enumerate(root(e.valid).items("kernels")):
        at = kernel.target("in_place")
        if not at:
            continue
        vectors.append((at, "I", 0))
        if len(vectors) == 1:
            read, written = struct.unpack_from("<II", e.valid, at + 4)
            for name, pair in {"huge": (MASK & 0xFFFFFFFF, written), "beyond": (read, 1000), "turned": (written, read), "same": (read, read)}.items():
                e.put(f"a12-in-place{i}-{name}", [(at + 4, "I", pair[0]), (at + 8, "I", pair[1])])
    if vectors:
        e.put("a12-in-place-none", vectors)


def operand_places(e, instruction):
    """(name, position of the buffer index, of the byte offset or None) of every operand."""
    kind = KINDS[instruction.get("operation_type")]
    operation = instruction.sub("operation", kind)
    if kind == "Gemm":
        for name in "abc":
            matrix = operation.sub(name)
            yield name, matrix.where("buffer"), matrix.where("byte_offset")
    elif kind in OPERANDS:
        for name in OPERANDS[kind]:
            at = operation.where(name)  # structs lie in the table
            yield name, at, at + 8
    else:
        for i, at in enumerate(operation.items("operands")):
            yield str(i), at, at + 8


def emit_instructions(e):
    """A09, A10, A16, A17: one case per kind of instruction and operand."""
    program = root(e.valid)
    buffers, kernels = len(program.items("buffers")), len(program.items("kernels"))
    constant = next((i for i, b in enumerate(program.items("buffers")) if b.get("storage") == 1), None)
    seen = set()
    for number, entry in enumerate(program.items("entries")):
        instructions = entry.items("instructions")
        for instruction in instructions:
            kind = KINDS[instruction.get("operation_type")]
            if (kind, number) in seen:
                continue
            seen.add((kind, number))
            label = f"{kind.lower()}{number}"
            e.number(f"a09-{label}", instruction, "operation_type", (0, len(KINDS), 255), "any")
            for name, index, offset in operand_places(e, instruction):
                for value in (buffers, 0x7FFFFFFF, 0xFFFFFFFF):
                    e.put(f"a09-{label}-{name}-buffer-{value}", [(index, "I", value)])
                for value in (-4, 1, 1 << 40, HUGE):
                    e.put(f"a09-{label}-{name}-offset-{value}", [(offset, "q", value)], "any" if value == 1 else "verify")
            operation = instruction.sub("operation", kind)
            if kind == "KernelCall":
                e.number(f"a17-{label}", operation, "kernel", (kernels, 0xFFFFFFFF))
                e.number(f"a17-{label}", operation, "units", (-1, 1 << 40))
                at = operation.target("operands")
                e.put(f"a17-{label}-operands", [(at, "I", struct.unpack_from("<I", e.valid, at)[0] - 1)])
                written = [p for p in operation.items("operands") if e.valid[p + 4] == 1]
                if written and constant is not None:
                    e.put(f"a10-{label}-writes-weights", [(written[0], "I", constant)])
            elif kind == "Gemm":
                for field in "mnk":
                    e.number(f"a11-{label}", operation, field, (-1, 1 << 40, HUGE))
                for name in "abc":
                    for field in ("row_stride", "column_stride"):
                        e.number(f"a11-{label}-{name}", operation.sub(name), field, (-1, 1 << 40, HUGE))
            elif kind == "HostCall":
                e.text(f"a17-{label}-function", operation.target("function"), b"system", "unsupported")
                for i, at in enumerate(operation.items("ints")):
                    for value in (-1, HUGE):
                        e.put(f"a11-{label}-int{i}-{value}", [(at, "q", value)])
            elif kind == "RowLoop":
                for field in ("rows", "chunk", "parts", "body"):
                    e.number(f"a11-{label}", operation, field, (-1, 0, 1 << 40, HUGE))
            elif kind == "MoveRows":
                for field in ("count", "rows", "width"):
                    e.number(f"a11-{label}", operation, field, (-1, 0, 1 << 40, HUGE))
            elif kind == "Update":
                e.number(f"a17-{label}", operation, "parameter", (0, len(program.items("parameters")), 0xFFFFFFFF))
            elif kind == "Copy":
                for field in ("shape", "dst_strides", "src_strides"):
                    for i, at in enumerate(operation.items(field)):
                        for value in (-1, HUGE):
                            e.put(f"a11-{label}-{field}{i}-{value}", [(at, "q", value)])
        # An instruction that runs before the one that writes what it reads.
        if len(instructions) > 1:
            at = entry.target("instructions") + 4
            first, last = at, at + 4 * (len(instructions) - 1)
            places = [struct.unpack_from("<I", e.valid, p)[0] + p for p in (first, last)]
            if places[1] > first and places[0] > last:
                e.put(f"a16-order{number}", [(first, "I", places[1] - first), (last, "I", places[0] - last)])


def tables_of(program):
    """Every table that may hold vectors of 8-byte elements."""
    for field in ("parameters", "buffers", "kernels"):
        yield from program.items(field)
    for entry in program.items("entries"):
        for instruction in entry.items("instructions"):
            kind = KINDS[instruction.get("operation_type")]
            operation = instruction.sub("operation", kind)
            yield operation
            if kind == "Gemm":
                yield from (operation.sub(name) for name in "abc")


def emit_alignment(e):
    """A23: a sound vector of 8-byte elements at a multiple of four, for each field that is one."""
    seen = set()
    for table in tables_of(root(e.valid)):
        for field, (_, kind) in TABLES[table.kind].items():
            size, at = {"[long]": 8, "[Operand]": 24}.get(kind), table.where(field)
            if not size or not at or (table.kind, field) in seen:
                continue
            seen.add((table.kind, field))
            first, count = table.items(field)[0], len(table.items(field))
            data = bytearray(e.valid) + bytes(-len(e.valid) % 8)
            struct.pack_into("<I", data, at, len(data) - at)
            data += struct.pack("<I", count) + e.valid[first : first + size * count]
            e.add(f"a23-{table.kind}-{field}", seal(data), "format")


def emit(folder, valid):
    path = valid["program"] if isinstance(valid, dict) else valid
    with open(path, "rb") as file:
        e = Emitter(folder, file.read())
    os.makedirs(folder, exist_ok=True)
    for family in (emit_bytes, emit_bomb, emit_header, emit_objects, emit_tables, emit_in_place, emit_instructions, emit_alignment):
        family(e)
    e.add("valid", e.file, "ok")
    e.add("valid-sealed-again", seal(e.valid), "ok")
    return e.cases


def main(checker, valid):
    with tempfile.TemporaryDirectory() as folder:
        cases = emit(folder, valid)
        failed = 0
        answers = {}
        for first in range(0, len(cases), 200):
            done = subprocess.run([checker] + [c["path"] for c in cases[first : first + 200]], capture_output=True, text=True, timeout=120)
            if done.returncode:
                sys.exit(f"checker ended with {done.returncode}:\n{done.stdout[-300:]}\n{done.stderr[-3000:]}")
            answers.update(line.split("\t", 1) for line in done.stdout.splitlines())
        for case in cases:
            code, _, said = answers.get(case["path"], "-1\tnothing").partition("\t")
            expect = case["expect"]
            kind = re.match(r"error\[([a-z-]+)\]", said)
            good = code == "0" if expect == "ok" else code in ("0", "3") if expect == "any" else code == "3" and (kind.group(1) in expect.split("|"))
            if not good:
                failed += 1
                print(f"{case['id']}: expected {expect}, got {code}: {said}")
        print(f"{len(cases) - failed} passed, {failed} failed")
        return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
