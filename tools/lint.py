#!/usr/bin/env python3
"""Checks the form of the sources: clang-format on all of them, clang-tidy on as many as the time allows.

    lint.py [--build build] [--seconds 100] [--fix]

clang-format looks at every C++ file that git tracks or would track; --fix rewrites them. clang-tidy begins with the files that differ from
the previous commit, then takes the others, shortest first, and stops when the time is over: a slow machine checks fewer files, and says
how many. A file that was clean is not looked at again before it, .clang-tidy or one of this repository's headers changes. Exit 1: something was found.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tool(name):
    """The path of a versioned LLVM tool, or the end of the program."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, f"{name}-22")
        if os.access(path, os.X_OK):
            return path
    sys.exit(f"lint.py: there is no {name}-22: run tools/setup.sh")


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def sources():
    names = git("ls-files", "--cached", "--others", "--exclude-standard", "--", "*.h", "*.cpp")
    return sorted(name for name in set(names) if os.path.exists(os.path.join(ROOT, name)))


def check_format(names, fix):
    """Prints the first place of every file whose form differs; returns the number of such files."""
    command = [tool("clang-format"), "-i"] if fix else [tool("clang-format"), "--dry-run", "--Werror"]
    bad = 0
    for start in range(0, len(names), 50):
        done = subprocess.run(command + names[start : start + 50], cwd=ROOT, capture_output=True, text=True)
        places = [line.split(": error: code should be clang-formatted")[0] for line in done.stderr.splitlines() if "code should be clang-formatted" in line]
        first = {place.split(":", 1)[0]: place for place in reversed(places)}
        for place in sorted(first.values()):
            print(f"{place}: not formatted")
        bad += len(first)
        if done.returncode and not first:
            print(done.stderr.strip())
            bad += 1
    return bad


def digest(paths, base=ROOT):
    total = hashlib.sha256()
    for path in paths:
        with open(os.path.join(base, path), "rb") as file:
            total.update(hashlib.sha256(file.read()).digest())
    return total.hexdigest()


def in_order(names, compiled):
    """The compiled files, changed ones first, then shortest first."""
    changed = set(git("diff", "--name-only", "HEAD~1")) | set(git("ls-files", "--others", "--exclude-standard"))
    chosen = [name for name in names if name in compiled]
    return sorted(chosen, key=lambda name: (name not in changed, os.path.getsize(os.path.join(ROOT, name)), name))


def check_tidy(names, build, seconds):
    """Runs clang-tidy until the time is over; returns the number of files with findings."""
    with open(os.path.join(build, "compile_commands.json")) as file:
        compiled = {os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT) for entry in json.load(file)}
    stamps = os.path.join(build, "lint")
    os.makedirs(stamps, exist_ok=True)
    common = digest([name for name in names if name.endswith(".h")] + [".clang-tidy"])
    program, deadline = tool("clang-tidy"), time.monotonic() + seconds

    def check(name):
        stamp = os.path.join(stamps, hashlib.sha256((common + name + digest([name])).encode()).hexdigest())
        if os.path.exists(stamp):
            return name, True, ""
        left = deadline - time.monotonic()
        if left < 1:
            return name, None, ""
        try:
            done = subprocess.run([program, "-p", build, "--quiet", name], cwd=ROOT, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            return name, None, ""
        if done.returncode == 0:
            open(stamp, "w").close()
        return name, done.returncode == 0, done.stdout + (done.stderr if not done.stdout else "")

    wanted = in_order(names, compiled)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, wanted))
    for _, clean, text in results:
        if clean is False:
            print(text.rstrip())
    looked_at = sum(clean is not None for _, clean, _ in results)
    bad = sum(clean is False for _, clean, _ in results)
    print(f"clang-tidy: {looked_at} of {len(wanted)} files looked at, {bad} with findings")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--seconds", type=float, default=100, help="for clang-tidy; 0: none")
    parser.add_argument("--fix", action="store_true", help="let clang-format rewrite the files")
    args = parser.parse_args()
    names = sources()
    bad = check_format(names, args.fix)
    print(f"clang-format: {len(names)} files, {bad} to be formatted" + (": tools/lint.py --fix" if bad else ""))
    if args.seconds > 0:
        bad += check_tidy(names, os.path.abspath(args.build), args.seconds)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
