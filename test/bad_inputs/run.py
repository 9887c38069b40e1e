#!/usr/bin/env python3
"""Gives Graft broken and odd inputs and looks at how it answers.

    run.py --graft build/bin/graft [--only recipe,onnx] [--keep DIR] [--sanitized]

Each family is a module beside this file with emit(folder) -> list of cases, or emit(folder, fixture) when it changes valid files:
fixture is a dict of paths (model, weights, batch, program). A case is a dict:
    id      unique                      path    the input
    kind    a key of COMMANDS below     expect  "ok", "any", or the fault's class: "format", "range|type", ...
    names   optional: what the message must contain instead of the input's file name
    args    optional: the arguments of graft, instead of the kind's
A broken input passes if graft exits with 2 or 3 within the time, names the file on stderr, dies of no signal and stays within
max(2 GiB, 4 x input) of resident memory; an "ok" one if it exits with 0; an "any" one with 0, 2 or 3 (swept bits may hit nothing that matters).
That the class differs from the expected one is counted and shown, and is no failure.
Prints the failures, a table by family and, last, 'N passed, N failed'; exit 1 if any failed.
--sanitized: no limit on address space and memory, ten times the time (AddressSanitizer reserves terabytes and runs slower).
"""
import argparse
import concurrent.futures
import importlib.util
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FAMILIES = ("recipe", "onnx", "weights", "rollouts", "batch", "objective", "program")
# {out} is a fresh path for each case; the other names are the input and the fixture's files.
COMMANDS = {
    "recipe": ["compile", "{path}", "--print-recipe"],
    "onnx": ["port", "{path}"],
    "mlir": ["port", "{path}"],
    "safetensors": ["run", "{program}", "--entry", "logprobs", "--batch", "{batch}", "--weights", "{path}", "--out", "{out}"],
    "batch": ["run", "{program}", "--entry", "accumulate", "--batch", "{path}", "--weights", "{weights}", "--out", "{out}"],
    "rollouts": ["train", "{program}", "--rollouts", "{path}", "--steps", "1", "--out", "{out}"],
    "objective": ["objective", "check", "{path}"],
    "program": ["run", "{path}", "--entry", "logprobs", "--batch", "{batch}", "--weights", "{weights}", "--out", "{out}"],
}
GIB = 1 << 30
RECIPE = """[model]
graph = "{model}"
weights = "{weights}"
[objective]
preset = "grpo"
advantages = "grpo"
old_logprobs = "initial"
[batch]
sequences = {rows}
tokens = {width}
"""


def make_fixture(graft, folder, work):
    """The valid files that some families change: a model folder of test/data and the program compiled from it."""
    from safetensors import safe_open

    fixture = {"model": f"{folder}/model.onnx", "weights": f"{folder}/weights.safetensors", "batch": f"{folder}/batch.safetensors"}
    absent = [path for path in fixture.values() if not os.path.exists(path)]
    if absent:
        sys.exit(f"run.py: {absent[0]} is missing: name a folder with model.onnx, weights.safetensors, batch.safetensors by --fixture")
    with safe_open(fixture["batch"], "np") as batch:
        rows, width = batch.get_slice("input_ids").get_shape()
    fixture["recipe"], fixture["program"] = f"{work}/fixture.toml", f"{work}/fixture.graft"
    with open(fixture["recipe"], "w") as file:
        file.write(RECIPE.format(rows=rows, width=width, **fixture))
    done = subprocess.run([graft, "compile", fixture["recipe"], "-o", fixture["program"]], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"run.py: the valid model does not compile (exit {done.returncode}): {done.stderr.strip()[:500]}")
    return fixture


def emit_all(families, work, fixture):
    """family -> cases; `fixture` makes the valid files when they are first needed."""
    cases = {}
    for family in families:
        if not os.path.exists(os.path.join(HERE, f"{family}.py")):
            continue
        folder = os.path.join(work, family)
        os.makedirs(folder)
        emit = load(family).emit
        cases[family] = emit(folder, fixture()) if len(inspect.signature(emit).parameters) > 1 else emit(folder)
    return cases


def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def execute(command, limits, input_size):
    """Runs it to its end or its time limit: (exit code, None if it took too long, negative for a signal), stderr, peak bytes."""
    wrapper = ["prlimit", "--core=0"]
    if limits["memory"]:  # shared libraries and mapped inputs take address space, not memory
        wrapper.append(f"--as={3 * GIB + input_size}")
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(wrapper + command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        deadline, pause = time.monotonic() + limits["seconds"], 0.001
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > deadline:
                os.killpg(child.pid, signal.SIGKILL)
                _, _, usage = os.wait4(child.pid, 0)
                code = None
                break
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        child.returncode = code or 0  # reaped above
        said.seek(0)
        return code, said.read(1 << 18).decode("utf-8", "replace"), usage.ru_maxrss * 1024


def load(family):
    """The generator of a family, by its file: a package of the same name (onnx) must not take its place."""
    spec = importlib.util.spec_from_file_location(f"bad_{family}", os.path.join(HERE, f"{family}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Cases whose answer differs on purpose, with the reason. One that starts to pass is an error too: take it out.
EXCLUDED = {
    **{f"X{n}": "port tells what a graph is made of also when its weights cannot be read; compile refuses" for n in ("03-04", "03-05", "10-00", "10-01", "10-02")},
    "rollouts-good-before-a-fault": "train reads the completions that its steps use, and the fault lies behind them",
    "G28-00": "two inputs that share a symbol are bound to one size each; the graph is no language model",
}


def isSoundGraph(text):
    """True if all that graft has against a graph is that it is no language model: such graphs test the reader, not the importer."""
    faults = re.findall(r"^error\[[a-z-]+\]: (.*)$", text, re.MULTILINE)
    return bool(faults) and all("has no input 'input_ids'" in fault or "does not give logits" in fault for fault in faults)


def judge(case, code, text, peak, limits):
    """The sentence that says what is wrong with the answer, or None; and the class it named, where another was expected."""
    expect = case["expect"]
    if code is None:
        return f"no answer in {limits['seconds']:g} s", None
    if code < 0:
        return f"killed by signal {-code}", None
    if expect == "ok" and case["kind"] == "onnx" and code == 3 and isSoundGraph(text):
        return None, None
    allowed = {"ok": (0,), "any": (0, 2, 3)}.get(expect, (2, 3))
    if code not in allowed:
        return f"exit {code}, expected {' or '.join(map(str, allowed))}", None
    if limits["memory"] and peak > max(2 * GIB, 4 * size_of(case["path"])):
        return f"{peak / GIB:.2f} GiB of memory", None
    if code == 0:
        return None, None
    wanted = case.get("names", os.path.basename(case["path"]))
    if wanted not in text and expect != "any":  # an input that may be legal in itself can show in another file's fault
        return f"the message does not name {wanted!r}", None
    named = re.search(r"error\[([a-z-]+)\]", text)
    other = named and expect not in ("ok", "any") and named[1] not in expect.lower().split("|")
    return None, named[1] if other else None


def run_case(graft, case, fixture, limits, work):
    out = os.path.join(work, "out", case["id"])
    places = {"path": case["path"], "out": out, **fixture}
    command = [graft] + [part.format(**places) for part in case.get("args", COMMANDS[case["kind"]])]
    code, text, peak = execute(command, limits, size_of(case["path"]))
    fault, other = judge(case, code, text, peak, limits)
    if os.path.isdir(out):
        shutil.rmtree(out)
    elif os.path.exists(out):
        os.remove(out)
    return {"case": case, "fault": fault, "other": other, "command": command, "text": text}


def report(cases, results):
    excluded = 0
    for result in results:
        if result["case"]["id"] in EXCLUDED:
            excluded += 1
            result["fault"] = None if result["fault"] else "passes now, but is in EXCLUDED"
    for result in results:
        if result["fault"]:
            print(f"FAIL  {result['case']['id']}: {result['fault']}")
            print(f"      {' '.join(result['command'])}")
            for line in result["text"].splitlines()[:3]:
                print(f"      | {line[:200]}")
    others = [f"{r['case']['id']}: {r['other']}, expected {r['case']['expect']}" for r in results if r["other"]]
    if others:
        print(f"{len(others)} answers of another class: " + "; ".join(others[:10]) + (" ..." if len(others) > 10 else ""))
    print(f"{'family':14s} {'cases':>6s} {'broken':>7s} {'legal':>6s} {'failed':>7s}")
    for family, members in cases.items():
        names = {case["id"] for case in members}
        failed = sum(bool(r["fault"]) for r in results if r["case"]["id"] in names)
        legal = sum(case["expect"] == "ok" for case in members)
        print(f"{family:14s} {len(members):6d} {len(members) - legal:7d} {legal:6d} {failed:7d}")
    print(f"{excluded} excluded, with reasons in EXCLUDED")
    failed = sum(bool(r["fault"]) for r in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graft", default=os.path.join(ROOT, "build/bin/graft"))
    parser.add_argument("--only", default=",".join(FAMILIES), help="families, separated by commas")
    parser.add_argument("--fixture", default=os.path.join(ROOT, "test/data/models/llama"), help="folder of a valid model")
    parser.add_argument("--keep", help="write the inputs to this new folder, with a manifest, and leave them there")
    parser.add_argument("--emit-only", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--sanitized", action="store_true")
    args = parser.parse_args()
    if not args.emit_only and not os.access(args.graft, os.X_OK):
        sys.exit(f"run.py: no program at {args.graft}: build it first, or name it by --graft")
    sys.path.insert(0, HERE)
    with tempfile.TemporaryDirectory(prefix="graft-bad-inputs-") as temporary:
        work = args.keep or temporary
        os.makedirs(os.path.join(work, "out"))
        made = {}

        def fixture():
            if not made:
                made.update(make_fixture(args.graft, args.fixture, work))
            return made

        cases = emit_all(args.only.split(","), work, fixture)
        everything = [case for members in cases.values() for case in members]
        ids = [case["id"] for case in everything]
        assert len(ids) == len(set(ids)), "ids repeat: " + ", ".join(sorted({i for i in ids if ids.count(i) > 1})[:5])
        with open(os.path.join(work, "manifest.json"), "w") as file:
            json.dump(cases, file, indent=1, sort_keys=True)
        if args.emit_only:
            print(f"{len(everything)} inputs in {work}")
            return
        if any(re.search(r"\{(program|batch|weights|model)\}", part) for case in everything for part in case.get("args", COMMANDS[case["kind"]])):
            fixture()
        limits = {"seconds": 100 if args.sanitized else 10, "memory": not args.sanitized}
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            results = list(pool.map(lambda case: run_case(args.graft, case, made, limits, work), everything))
        sys.exit(1 if report(cases, results) or not results else 0)


if __name__ == "__main__":
    main()
