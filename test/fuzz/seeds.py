#!/usr/bin/env python3
"""Writes what the fuzzers begin with: the small files of test/data and of test/bad_inputs, in the form that each fuzzer takes.

    seeds.py FOLDER PROGRAM...      FOLDER/onnx, safetensors, rollouts, program; PROGRAM: a valid program file (test/bin/write_sample)

Each input once, named after its digest, as the fuzzers name those that they find.
"""
import glob
import hashlib
import importlib.util
import os
import stat
import struct
import sys
import tempfile

TEST = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LARGEST = 128 << 10  # a large input is slow to change and to read, and says little more than a small one


def module(name):
    """The module of test/bad_inputs, under a name of its own: one of them is called like a package that it needs."""
    spec = importlib.util.spec_from_file_location(f"bad_inputs_{name}", os.path.join(TEST, "bad_inputs", f"{name}.py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def files_below(folder):
    """The contents of the small regular files."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
                with open(path, "rb") as file:
                    yield file.read()


def data(pattern):
    """The same of files in test/data."""
    for path in sorted(glob.glob(os.path.join(TEST, "data", pattern))):
        if os.path.getsize(path) <= LARGEST:
            with open(path, "rb") as file:
                yield file.read()


def emitted(name, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        module(name).emit(os.path.join(folder, "inputs"), *arguments)
        yield from files_below(folder)


def header_input(content):
    """safetensors_fuzzer takes a byte with the size of the data, then a header; an index of shards is taken as a header too."""
    if content[:1] == b"{":
        return b"\0" + content
    length = struct.unpack("<Q", content[:8].ljust(8, b"\0"))[0]
    header, rest = content[8 : 8 + length], content[8 + length :]
    return bytes([min(len(rest), 255)]) + header


def write(folder, inputs):
    os.makedirs(folder)
    for content in inputs:
        with open(os.path.join(folder, hashlib.sha1(content).hexdigest()), "wb") as file:
            file.write(content)
    print(f"{folder}: {len(os.listdir(folder))} inputs")


def main(folder, *programs):
    sys.path.insert(0, os.path.join(TEST, "bad_inputs"))
    write(f"{folder}/onnx", [*data("models/*/model.onnx"), *data("onnx/node/*.onnx"), *emitted("onnx")])
    checkpoints = [*data("batch/*.safetensors"), *emitted("weights", {"weights": os.path.join(TEST, "data/batch/llama.safetensors")})]
    write(f"{folder}/safetensors", map(header_input, checkpoints))
    write(f"{folder}/rollouts", [*data("rollouts/*.jsonl"), *emitted("rollouts")])
    write(f"{folder}/program", (content for program in programs for content in emitted("program", program)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
