#!/usr/bin/env python3
"""Measures Graft against PyTorch on this machine, and compares the ratios with the bars that Graft promises.

    against_pytorch.py [WORK...] [--rounds 6] [--compile] [--json]

Both sides do the same work on the same data with the same number of threads, in turns: each round is one step of every PyTorch variant, then a
few steps of Graft. A machine's speed drifts by more than the difference that is looked for, so only ratios of such interleaved runs
count: the median of Graft's seconds over that of the fastest PyTorch variant. Both sides' losses are compared before a number is printed.

PyTorch runs from --python, or from a virtual environment under build/peers that is made on the first run (a download of some gigabytes).
README.md beside this file says what each work is. Progress goes to standard error, the table to standard output.

Exit code 0: every ratio holds its bar; 1: one does not; 2: nothing could be measured, and the message says what to do; 130: interrupted.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from sides import BUILD, KERNELS, QUIET, PyTorchSide, Trouble, end, run_kernels, say, tail
from works import WORKS, Variant

VERSIONS = {"torch": "2.15.0", "transformers": "5.23.0"}
ENOUGH = 3  # quiet turns of each side that a result should rest on


@dataclass
class Bench:
    """What all works share."""
    graft: str
    python: str
    model: str
    threads: int
    rounds: int
    steps: int
    warmups: int
    compiles: bool
    logs: str
    children: list
    compute: str = "float32"  # of the work that is measured

    def end_children(self):
        while self.children:
            end(self.children.pop())


def check_agreement(work, graft, side):
    for step, bounds in enumerate(work.agree):
        for name, (absolute, relative) in bounds.items():
            ours, theirs = graft.values[step][name], side.values[step][name]
            if not abs(ours - theirs) <= absolute + relative * abs(theirs):
                raise Trouble(f"the sides do not compute the same: {name} of step {step + 1} is {ours:.9g} in Graft and {theirs:.9g} in {side.name}",
                              "A ratio would mean nothing. Find out which side is wrong: test/tools/golden_smollm2.py compares Graft with stored numbers")


def check_memory(gib):
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) / 2**20
    if available < gib:
        say(f"note: all sides together take about {gib:.0f} GiB of memory, {available:.0f} GiB are available")


def measure(bench, name):
    """Runs all rounds of one work; returns its part of the result."""
    work = WORKS[name]
    say(f"{name}: {work.what}, {bench.threads} threads")
    bench.compute = work.compute
    with tempfile.TemporaryDirectory(prefix="against-pytorch-", dir=BUILD) as folder:
        try:
            graft, settings = work.prepare(bench, folder)
            variants = [variant for variant in work.variants if bench.compiles or not variant.compiles]
            check_memory(work.gib * (len(variants) + 1))
            sides = []
            for variant in variants:
                sides.append(PyTorchSide(bench, name, variant, settings))
                sides[-1].warm_up(bench.warmups)
            bare = work.bare(bench) if work.bare else None
            for number in range(1, bench.rounds + 1):
                for side in (*sides, graft, *([bare] if bare else [])):
                    side.turn()
                    last = side.turns[-1]
                    say(f"{name}: round {number}/{bench.rounds}: {side.name}: " + ", ".join(f"{seconds:.2f} s" for seconds in last.seconds)
                        + (f" (others took {last.others:.0%} of the CPUs)" if last.others > QUIET else ""))
                if number == 1:
                    for side in sides:
                        check_agreement(work, graft, side)
                    say(f"{name}: the sides agree: " + ", ".join(f"{key} {graft.values[0][key]:.6g}" for key in work.agree[0]))
        finally:  # before the folder goes
            bench.end_children()
    return result_of(work, name, graft, sides, bare)


def result_of(work, name, graft, sides, bare):
    """Turns that others disturbed do not count, as long as every side has enough quiet ones."""
    quiet = all(sum(turn.others <= QUIET for turn in side.turns) >= ENOUGH for side in (*sides, graft, *([bare] if bare else [])))

    def part(side):
        seconds = [value for turn in side.turns if turn.others <= QUIET or not quiet for value in turn.seconds]
        return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "count": len(seconds), "turns": len(side.turns),
                "quiet_turns": sum(turn.others <= QUIET for turn in side.turns), "peak_mib": round(side.peak_mib, 1)}
    variants = {side.name.removeprefix("PyTorch, "): part(side) | {"idle_cpu_seconds": round(side.idle_cpu, 2)} for side in sides}
    best = min(variants, key=lambda variant: variants[variant]["median"])
    ours = part(graft)
    ratio = ours["median"] / variants[best]["median"]
    limits = []
    for limit in work.limits:
        value = limit.of(graft, ours["median"], part(bare)["median"] if bare else None)
        limits.append({"what": limit.what, "value": value, "bar": limit.bar, "holds": value <= limit.bar})
    return {"work": name, "ratio": ratio, "bar": work.bar, "holds": ratio <= work.bar and all(limit["holds"] for limit in limits), "quiet": quiet,
            "best": best, "graft": ours, "pytorch": variants, "limits": limits, "torch": sides[0].ready["torch"],
            "flops": max(entry["flops"] for entry in graft.plan["entries"]),
            "optimizer_bytes": 28 * graft.plan["trained_parameters"] + graft.plan["working_bytes"]}


def measure_ceilings(bench):
    """What the machine gives PyTorch at this moment."""
    say("the machine's ceilings")
    try:
        side = PyTorchSide(bench, "ceilings", Variant("ceilings", {}), {})
        side.turn()
    finally:
        bench.end_children()
    return side.values[0]


def machine_ceilings(bench):
    """The most that instructions and memory do: what -> (rate, unit); empty where the program that measures them was not built."""
    if not os.path.isfile(KERNELS):
        return {}
    lines, _ = run_kernels(bench, "ceilings")
    return {" ".join(words[:-4]): (float(words[-4]), words[-3]) for words in map(str.split, lines)}


def add_roofline(result, machine):
    """Which share of a work's seconds it would take at the machine's ceilings: its operations, and then its optimizer's bytes."""
    work = WORKS[result["work"]]
    rate = next((rate for what, (rate, _) in machine.items() if what.startswith("float32 FMA" if work.compute == "float32" else "bfloat16 dot")), None)
    if work.roofline is None or rate is None:
        return
    triad = next(rate for what, (rate, _) in machine.items() if what.startswith("triad"))
    share = (result["flops"] / rate + result["optimizer_bytes"] / triad) / 1e9 / result["graft"]["median"]
    result["limits"].append({"what": "of the roofline, at least", "value": share, "bar": work.roofline, "holds": share >= work.roofline})
    result["holds"] &= share >= work.roofline


def table(rows):
    """Columns as wide as their widest cell; the first is flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))).rstrip())


def verdict(holds):
    return "holds" if holds else "MISSED"


def show(result):
    rows = [("work", "PyTorch", "Graft", "ratio", "bar", "", "PyTorch peak", "Graft peak")]
    details = [("side", "median", "from", "to", "steps", "quiet turns", "peak")]
    for work in result["works"]:
        best, ours = work["pytorch"][work["best"]], work["graft"]
        rows.append((work["work"], f"{best['median']:.3f} s", f"{ours['median']:.3f} s", f"{work['ratio']:.3f}", f"{work['bar']:g}",
                     verdict(work["ratio"] <= work["bar"]), f"{best['peak_mib']:.0f} MiB", f"{ours['peak_mib']:.0f} MiB"))
        for limit in work["limits"]:
            rows.append((f"  {limit['what']}", "", "", f"{limit['value']:.3f}", f"{limit['bar']:g}", verdict(limit["holds"]), "", ""))
        for name, part in [*work["pytorch"].items(), ("Graft", ours)]:
            title = f"{work['work']}: {name}" + (" (best)" if name == work["best"] else "")
            details.append((title, f"{part['median']:.3f} s", f"{part['min']:.3f}", f"{part['max']:.3f}", str(part["count"]),
                            f"{part['quiet_turns']}/{part['turns']}", f"{part['peak_mib']:.0f} MiB"))
    table(rows)
    print()
    table(details)
    ceilings = result["ceilings"]
    print(f"\nceilings as PyTorch {result['torch']} reaches them with {result['threads']} threads: "
          f"{ceilings['matmul_gflops']:.0f} GFLOP/s in float32 products, {ceilings['triad_gb_per_s']:.1f} GB/s in a triad")
    if result["machine"]:
        print("the machine's own: " + "; ".join(f"{what} {rate:g} {unit}" for what, (rate, unit) in result["machine"].items()))
    else:
        print("for the machine's own, build what measures them: ninja -C build kernel_benchmark")


# ---- Set-up ----


def logged(log, todo, *command):
    with open(log, "a") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        try:
            code = process.wait()
        except BaseException:
            end(process)
            raise
    if code:
        raise Trouble(f"{os.path.basename(command[0])} {' '.join(command[1:4])} did not work{tail(log)}", f"See {os.path.relpath(log)}; {todo}")


def peers_python():
    """The interpreter of build/peers, which is made unless its stamp says that it holds the pinned versions."""
    folder, log = os.path.join(BUILD, "peers"), os.path.join(BUILD, "log", "peers.log")
    python, stamp = os.path.join(folder, "bin", "python"), os.path.join(folder, ".stamp")
    pinned = [f"{name}=={version}" for name, version in VERSIONS.items()]
    wanted = "\n".join([sys.version, sys.executable, *pinned])
    if os.path.exists(python) and os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == wanted:
                return python
    say(f"making build/peers with {' and '.join(pinned)}: some gigabytes, minutes (log: build/log/peers.log)")
    logged(log, "Debian's package python3-venv is needed", sys.executable, "-m", "venv", "--clear", folder)
    logged(log, "check that pip reaches a package index, or name an interpreter that has them with --python", python, "-m", "pip", "install",
           "--disable-pip-version-check", "-q", *pinned)
    with open(stamp, "w") as file:
        file.write(wanted)
    return python


def check_python(python):
    """It must have the packages; other versions than the pinned ones are worth a note."""
    script = "import json; from importlib.metadata import version; print(json.dumps([version(name) for name in %r]))" % list(VERSIONS)
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True)
    except OSError as error:
        raise Trouble(f"{python} cannot be run: {error.strerror}", "Name a Python interpreter with --python, or leave it out") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Trouble(f"{python} does not have {' and '.join(VERSIONS)}: {why}", "Leave --python out: then build/peers is made, which has them")
    for (name, pinned), found in zip(VERSIONS.items(), json.loads(done.stdout)):
        if found.partition("+")[0] != pinned:
            say(f"note: {name} {found}; the bars were set with {pinned}")


def use_cpus(threads):
    """Both sides inherit the same CPUs, one for each thread."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise Trouble(f"{threads} threads, but this process may use {len(allowed)} CPUs", f"Give --threads {len(allowed)}")
    cores = {}
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.setdefault(file.read(), cpu)
        except OSError:
            cores.setdefault(cpu, cpu)
    chosen = sorted(cores.values())
    os.sched_setaffinity(0, (chosen if threads <= len(chosen) else allowed)[:threads])


def arguments():
    def count(least):
        def parse(text):
            if int(text) < least:
                raise ValueError
            return int(text)
        parse.__name__ = f"number (at least {least})"
        return parse
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"what to measure: {', '.join(WORKS)}; default: all")
    parser.add_argument("--rounds", type=count(1), default=6, help="default: 6")
    parser.add_argument("--steps", type=count(1), default=3, help="measured steps of Graft in a round, after one that does not count; default: 3")
    parser.add_argument("--warmups", type=count(1), default=3, help="first steps of each PyTorch variant that do not count; default: 3")
    parser.add_argument("--threads", type=count(1), default=2, help="of each side; default: 2")
    parser.add_argument("--compile", action="store_true", help="also the variants with torch.compile: minutes more, and it needs g++")
    parser.add_argument("--python", help="an interpreter with torch and transformers; default: build/peers, made when it is missing")
    parser.add_argument("--graft", default=os.path.join(BUILD, "bin", "graft"), help="default: build/bin/graft")
    parser.add_argument("--model", default=os.path.join(BUILD, "quickstart", "model"),
                        help="folder with config.json and model.safetensors; default: build/quickstart/model")
    parser.add_argument("--json", action="store_true", help="the result as one line of JSON on standard output instead of the table")
    options = parser.parse_args()
    for name in options.works:
        if name not in WORKS:
            parser.error(f"no work is named {name!r}; there are: {', '.join(WORKS)}")
    return options


def set_up(options):
    if not os.access(options.graft, os.X_OK):
        raise Trouble(f"there is no {os.path.relpath(options.graft)}", "Build it with tools/setup.sh graft, or name one with --graft")
    compiler = os.environ.get("CXX", "g++")
    if options.compile and not shutil.which(compiler):
        raise Trouble(f"torch.compile needs a C++ compiler, and there is no {compiler}", "Install Debian's package g++, or leave --compile out")
    for name in options.works or WORKS:
        WORKS[name].need(options.model)
    logs = os.path.join(BUILD, "log")
    os.makedirs(logs, exist_ok=True)
    # Not abspath of --python: a virtual environment is known by the path of its link.
    python = options.python or peers_python()
    check_python(python)
    use_cpus(options.threads)
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"note: the load of this machine is {load:.1f} before anything was measured; on a busy machine ratios prove nothing")
    return Bench(graft=os.path.abspath(options.graft), python=python, model=os.path.abspath(options.model), threads=options.threads, rounds=options.rounds,
                 steps=options.steps, warmups=options.warmups, compiles=options.compile, logs=logs, children=[])


def run(options):
    bench = set_up(options)
    before = measure_ceilings(bench)
    works = [measure(bench, name) for name in dict.fromkeys(options.works or WORKS)]
    after = measure_ceilings(bench)
    machine = machine_ceilings(bench)
    for work in works:
        add_roofline(work, machine)
    result = {"works": works, "machine": machine, "ceilings": {name: max(before[name], after[name]) for name in before}, "torch": works[0]["torch"], "threads": bench.threads,
              "rounds": bench.rounds}
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    for work in works:
        for name, part in work["pytorch"].items():
            if part["idle_cpu_seconds"] > 0.05 * bench.rounds:
                say(f"note: {work['work']}: PyTorch, {name}, used {part['idle_cpu_seconds']:.1f} s of a CPU while it was not its turn")
        if not work["quiet"]:
            say(f"note: {work['work']}: fewer than {ENOUGH} quiet turns of some side, so all were counted, also those in which others took more than "
                f"{QUIET:.0%} of the CPUs: this ratio proves nothing; measure again on a quiet machine, or with more rounds")
    return 0 if all(work["holds"] for work in works) else 1


def main():
    def stopped(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGHUP, stopped)
    options = arguments()
    try:
        return run(options)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
