#!/usr/bin/env python3
"""Proves that runtime/ and kernels/ stand without the compiler: no MLIR or LLVM header, symbol or library.

    check_boundaries.py [--source .] [--build build]

Four looks at the same law, since each alone can be fooled:
  includes   every #include in the two folders, followed through this repository's own files
  compiled   what the compiler really read for their objects (ninja's dependency log) and the flags it was given
  symbols    what their static libraries leave undefined
  linked     the link line of every program made only of objects of these folders and of their tests
Each look must have seen something. Prints the violations with the way that leads to them; exit 1 if there are any.
"""
import argparse
import json
import os
import re
import subprocess
import sys

FOLDERS = ("runtime/", "kernels/")
TESTS = ("test/runtime/", "test/kernels/")
COMPILER_HEADER = re.compile(r"^(mlir|llvm|mlir-c|llvm-c|lld|clang|clang-c)/")
# Not /usr/lib/llvm-22/lib/clang/22/include: these are the C compiler's own headers.
COMPILER_PATH = re.compile(r"/llvm-\d+/include/|/include/(llvm-\d+|llvm-c-\d+|mlir|llvm|mlir-c|llvm-c|lld)(/|$)|mlir_pch")
COMPILER_SYMBOL = re.compile(r"\b(mlir|llvm|lld)::|\bLLVM[A-Z]\w+|\bmlir[A-Z]\w+")
COMPILER_LIBRARY = re.compile(r"lib(MLIR|LLVM|lld|clang)[\w.-]*\.(so|a)|-l(MLIR|LLVM|lld)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def files_of(source, folders):
    for folder in folders:
        for place, _, names in os.walk(os.path.join(source, folder)):
            for name in sorted(names):
                if name.endswith((".h", ".hpp", ".inc", ".cpp", ".c", ".cu", ".cuh")):
                    yield os.path.relpath(os.path.join(place, name), source)


def check_includes(source, build):
    """Follows includes from every file; the way to a forbidden one is reported once per starting file."""
    def resolve(name, beside):
        for base in (os.path.dirname(beside), source, build):
            path = os.path.normpath(os.path.join(base, name))
            if os.path.isfile(path):
                return path
        return None

    violations, seen_files = [], 0
    for start in files_of(source, FOLDERS):
        seen_files += 1
        ways, visited = [[os.path.join(source, start)]], set()
        while ways:
            way = ways.pop()
            if way[-1] in visited:
                continue
            visited.add(way[-1])
            with open(way[-1], encoding="utf-8", errors="replace") as file:
                text = file.read()
            for _, name in INCLUDE.findall(text):
                if COMPILER_HEADER.match(name):
                    steps = [os.path.relpath(step, source) for step in way] + [name]
                    violations.append("includes: " + " -> ".join(steps))
                elif path := resolve(name, way[-1]):
                    ways.append(way + [path])
    return violations, seen_files


def check_compiled(source, build):
    """What was given to the compiler, and what it read."""
    violations, objects = [], 0
    with open(os.path.join(build, "compile_commands.json")) as file:
        for entry in json.load(file):
            name = os.path.relpath(os.path.join(entry["directory"], entry["file"]), source)
            if name.startswith(FOLDERS):
                for flag in entry["command"].split():
                    if COMPILER_PATH.search(flag):
                        violations.append(f"compiled: {name} with {flag}")
    log = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True).stdout
    for block in log.split("\n\n"):
        target, *lines = block.splitlines() or [""]
        if target.startswith(FOLDERS):
            objects += 1
            read = [line.strip() for line in lines if COMPILER_PATH.search(line)]
            if read:
                violations.append(f"compiled: {target.split(':')[0]} read {read[0]} and {len(read) - 1} more")
    return violations, objects


def statements(build):
    """(output, rule, explicit inputs, variables) of every build statement of build.ninja."""
    with open(os.path.join(build, "build.ninja")) as file:
        lines = file.read().replace("$\n", "").split("\n")
    current = None
    for line in lines:
        if match := re.match(r"build ([^:]+): (\S+)([^|]*)", line):
            if current:
                yield current
            current = (match[1].split(" ")[0], match[2], match[3].split(), {})
        elif current and (match := re.match(r"  (\w+) = (.*)", line)):
            current[3][match[1]] = match[2]
    if current:
        yield current


def check_symbols(build, all_statements):
    violations, libraries = [], 0
    for output, rule, inputs, _ in all_statements:
        path = os.path.join(build, output)
        if not rule.startswith("CXX_STATIC_LIBRARY_LINKER") or not any(i.startswith(FOLDERS) for i in inputs) or not os.path.exists(path):
            continue
        libraries += 1
        undefined = subprocess.run(["nm", "--undefined-only", "--demangle", path], capture_output=True, text=True).stdout
        found = [line.strip() for line in undefined.splitlines() if COMPILER_SYMBOL.search(line)]
        if found:
            violations.append(f"symbols: {output} needs '{found[0]}' and {len(found) - 1} more")
    return violations, libraries


def check_linked(all_statements):
    violations, programs = [], 0
    for output, rule, inputs, variables in all_statements:
        objects = [name for name in inputs if name.endswith(".o")]
        if not rule.startswith("CXX_EXECUTABLE_LINKER") or not objects or not all(name.startswith(FOLDERS + TESTS) for name in objects):
            continue
        # A test of the runtime may compile the program that it runs: it then names the compiler's door itself.
        if all(name.startswith(TESTS) for name in objects) and "libgraft_compiler.a" in variables.get("LINK_LIBRARIES", ""):
            continue
        programs += 1
        if found := COMPILER_LIBRARY.search(variables.get("LINK_LIBRARIES", "") + variables.get("LINK_FLAGS", "")):
            violations.append(f"linked: {output} with {found[0]}")
    return violations, programs


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=root)
    parser.add_argument("--build", default=os.path.join(root, "build"))
    args = parser.parse_args()
    source, build = os.path.abspath(args.source), os.path.abspath(args.build)
    if not os.path.exists(os.path.join(build, "build.ninja")):
        sys.exit(f"check_boundaries.py: {build} is not built: run tools/setup.sh")
    all_statements = list(statements(build))
    looks = {
        "source files": check_includes(source, build),
        "objects": check_compiled(source, build),
        "libraries": check_symbols(build, all_statements),
        "programs": check_linked(all_statements),
    }
    violations = [text for found, _ in looks.values() for text in found]
    violations += [f"looked at no {what}: build them first" for what, (_, count) in looks.items() if count == 0]
    for text in violations:
        print(text)
    print(", ".join(f"{count} {what}" for what, (_, count) in looks.items()) + f": {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
