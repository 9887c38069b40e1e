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
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = os.path.join(ROOT, "examples", "smollm2")
BUILD = os.path.join(ROOT, "build")
VERSIONS = {"torch": "2.15.0", "transformers": "5.23.0"}
# malloc keeps what was freed, or every step pays again for the pages of its activations; and it asks for huge pages, as Graft does.
TUNABLES = f"glibc.malloc.mmap_threshold={1 << 34}:glibc.malloc.trim_threshold={1 << 34}:glibc.malloc.top_pad={1 << 30}:glibc.malloc.hugetlb=1"
QUIET = 0.05  # share of the CPUs that others may take in a turn that counts
ENOUGH = 3  # quiet turns of each side that a result should rest on
SETTLE = 0.3  # seconds after a turn, in which idle threads stop spinning and go to sleep


class Trouble(Exception):
    """Nothing can be measured: what is wrong, and what to do about it."""

    def __init__(self, what, todo):
        super().__init__(f"error: {what}\n  {todo}")


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def end(process):
    """Ends a process and everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def busy_seconds():
    """Processor time that this process's CPUs have spent on anything, other guests of the same host included."""
    mine, total = {f"cpu{cpu}" for cpu in os.sched_getaffinity(0)}, 0
    with open("/proc/stat") as file:
        for name, *times in map(str.split, file):
            if name in mine:  # user, nice, system, irq, softirq, steal; not idle and iowait
                total += sum(int(times[column]) for column in (0, 1, 2, 5, 6, 7))
    return total / os.sysconf("SC_CLK_TCK")


class Watch:
    """Which share of the CPUs others take, from now on."""

    def __init__(self):
        self.started, self.busy = time.monotonic(), busy_seconds()

    def share(self, own):
        """`own`: processor time of the measured side in this while."""
        wall = time.monotonic() - self.started
        return min(max((busy_seconds() - self.busy - own) / (wall * len(os.sched_getaffinity(0))), 0), 1)


@dataclass(frozen=True)
class Turn:
    seconds: list  # of each step that counts
    others: float


def tail(path):
    with open(path, errors="replace") as file:
        return "".join(f"\n  | {line.rstrip()}" for line in file.readlines()[-12:])


# ---- The two sides. Each has a name, takes turns, and keeps them, the values of its first steps, its peak of memory. ----


class PyTorchSide:
    """A variant of a work in pytorch_side.py: a process of its own that is blocked on its standard input between its turns."""

    def __init__(self, bench, work, variant, settings):
        self.name, self.turns, self.values, self.peak_mib = f"PyTorch, {variant.name}", [], [], 0.0
        self.idle_cpu = 0.0
        self.log = os.path.join(bench.logs, "-".join(["pytorch", work, *variant.name.replace(",", "").split()]) + ".log")
        # Without a wait policy idle threads spin for milliseconds only; "passive" would slow the measured step.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
        environment.update(OMP_NUM_THREADS=str(bench.threads), MKL_NUM_THREADS=str(bench.threads), KMP_BLOCKTIME="100", GLIBC_TUNABLES=TUNABLES,
                           CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", TORCHINDUCTOR_CACHE_DIR=os.path.join(BUILD, "cache", "inductor"))
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_side.py")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([bench.python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                                            start_new_session=True)
        bench.children.append(self.process)
        self.ready = self.ask({"work": work, "threads": bench.threads, "options": variant.options, "settings": settings}, "making ready")
        self.cpu = self.cpu_seconds()

    def ask(self, order, doing):
        """Sends a line and waits for the answer; says every half minute that it still waits."""
        begin = time.monotonic()
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
            while not select.select([self.process.stdout], [], [], 30)[0]:
                say(f"{self.name}: {doing} for {time.monotonic() - begin:.0f} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        code = self.process.wait()
        why = "it was killed, perhaps because memory ran out" if code == -signal.SIGKILL else f"exit code {code}"
        raise Trouble(f"{self.name} ended while {doing} ({why}){tail(self.log)}", f"The whole output is in {os.path.relpath(self.log)}")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def step(self, doing):
        begin, watch = self.cpu_seconds(), Watch()
        self.idle_cpu += begin - self.cpu
        answer = self.ask({}, doing)
        turn = Turn([answer["seconds"]], watch.share(self.cpu_seconds() - begin))
        self.values.append(answer["values"])
        self.peak_mib = answer["peak_mib"]
        time.sleep(SETTLE)
        self.cpu = self.cpu_seconds()
        return turn

    def warm_up(self, steps):
        for number in range(1, steps + 1):
            say(f"{self.name}: warm-up {number}/{steps}: {self.step('warming up').seconds[0]:.2f} s")

    def turn(self):
        self.turns.append(self.step("taking a step"))


class GraftTrain:
    """`graft train` on a recipe and rollouts. A turn is a run of its own; its first step, which touches all memory for the first time, does
    not count."""

    def __init__(self, bench, folder, recipe, rollouts):
        self.bench, self.name, self.turns, self.values, self.peak_mib = bench, "Graft", [], [], 0.0
        self.folder, self.rollouts, self.program = folder, rollouts, os.path.join(folder, "program.graft")
        self.log = os.path.join(bench.logs, "graft.log")
        path = os.path.join(folder, "recipe.toml")
        with open(path, "w") as file:
            file.write(recipe)
        say("Graft: compiling")
        self.run("compile", path, "-o", self.program, "--quiet")

    def run(self, *arguments):
        """Runs graft to its end; returns what it used of the machine."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "OMP_", "GOMP_", "KMP_"))}
        with open(self.log, "w") as log:
            process = subprocess.Popen([self.bench.graft, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                       start_new_session=True)
        self.bench.children.append(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.bench.children.remove(process)
        if process.returncode:
            raise Trouble(f"graft {arguments[0]} ended with exit code {process.returncode}{tail(self.log)}",
                          f"The whole output is in {os.path.relpath(self.log)}")
        return usage

    def turn(self):
        out = os.path.join(self.folder, "run")
        steps = self.bench.steps + 1
        watch = Watch()
        usage = self.run("train", self.program, "--rollouts", self.rollouts, "--steps", str(steps), "--out", out,
                         "--threads", str(self.bench.threads), "--quiet")
        others = watch.share(usage.ru_utime + usage.ru_stime)
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024)
        with open(os.path.join(out, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        shutil.rmtree(out)  # at once: a checkpoint that is gone needs not be written to the disk while PyTorch measures
        if len(lines) != steps:
            raise Trouble(f"graft train wrote {len(lines)} lines of metrics for {steps} steps", "This is a defect: please report it")
        self.values = self.values or lines
        self.turns.append(Turn([line["seconds"] for line in lines[1:]], others))
        time.sleep(SETTLE)


# ---- The works ----


@dataclass(frozen=True)
class Variant:
    """A way to write the work in PyTorch; `options` are those of its function in pytorch_side.py."""
    name: str
    options: dict
    compiles: bool = False


@dataclass(frozen=True)
class Work:
    """`need(model folder)` fails if a file is missing. `prepare(bench, folder)` returns Graft's side and the settings for PyTorch's. `agree`
    lists, for each of the first steps, by how much the two sides' values may differ: name -> (absolute, relative)."""
    what: str
    bar: float
    gib: float  # memory that each side takes, roughly
    variants: tuple[Variant, ...]
    need: Callable
    prepare: Callable
    agree: tuple[dict, ...]


GRPO = {"lr": 1e-6, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "clip_grad_norm": 1.0, "clip_low": 0.2, "clip_high": 0.2}
GRPO_RECIPE = """[model]
graph = {graph}
weights = {weights}
[objective]
preset = "grpo"
aggregation = "token_mean"
clip_low = {clip_low}
clip_high = {clip_high}
kl = "none"
old_logprobs = "batch"
[batch]
sequences = {sequences}
tokens = {tokens}
[optimizer]
name = "adamw"
lr = {lr}
betas = {betas}
eps = {eps}
weight_decay = {weight_decay}
decay = "matrices"
clip_grad_norm = {clip_grad_norm}
"""


def need_smollm2(model):
    fetch = "Fetch it with tools/setup.sh --no-build && tools/fetch_smollm2.sh, or name its folder with --model"
    restore = "It is part of the repository: git status tells what became of it"
    for folder, name, todo in ((model, "model.safetensors", fetch), (model, "config.json", fetch), (EXAMPLE, "model.onnx", restore),
                               (EXAMPLE, "rollouts.jsonl", restore)):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise Trouble(f"there is no {os.path.relpath(path)}", todo)


def prepare_smollm2_step(bench, folder, packed=False):
    """The first 16 rollouts of the example, with the sampler's log-probs as old ones and advantages within each group: both sides read this
    file. `packed`: Graft's side computes each prompt once, in one row that just holds the step."""
    sequences = 16
    with open(os.path.join(EXAMPLE, "rollouts.jsonl")) as file:
        lines = [json.loads(next(file)) for _ in range(sequences)]
    groups = {}
    for line in lines:
        groups.setdefault(line["group_id"], []).append(line["reward"])
    rollouts = os.path.join(folder, "rollouts.jsonl")
    with open(rollouts, "w") as file:
        for line in lines:
            rewards = groups[line["group_id"]]
            advantage = (line["reward"] - statistics.fmean(rewards)) / (statistics.stdev(rewards) + 1e-4)
            print(json.dumps({"prompt_ids": line["prompt_ids"], "completion_ids": line["completion_ids"], "old_logprobs": line["sampler_logprobs"],
                              "advantage": advantage}), file=file)
    width = max(len(line["prompt_ids"]) + len(line["completion_ids"]) for line in lines)
    recipe = GRPO_RECIPE.format(graph=json.dumps(os.path.join(EXAMPLE, "model.onnx")),
                                weights=json.dumps(os.path.join(bench.model, "model.safetensors")), sequences=sequences, tokens=width, **GRPO)
    if packed:
        prompts = {tuple(line["prompt_ids"]) for line in lines}
        used = sum(map(len, prompts)) + sum(len(line["completion_ids"]) for line in lines)
        recipe = recipe.replace("[batch]", f"[batch]\npacked = {-(-used // 64) * 64}")
    return GraftTrain(bench, folder, recipe, rollouts), {"model": bench.model, "rollouts": rollouts, "sequences": sequences, "tokens": width, **GRPO}


GPT2_GRAPH = os.path.join(ROOT, "test", "benchmarks", "graphs", "gpt2-124m.onnx")
GPT2 = {"sequences": 4, "tokens": 64, "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
GPT2_RECIPE = """[model]
graph = {graph}
weights = {weights}
[model.names]
"lm_head.weight" = "transformer.wte.weight"
[objective]
preset = "sft"
[batch]
sequences = {sequences}
tokens = {tokens}
[optimizer]
lr = {lr}
betas = {betas}
eps = {eps}
weight_decay = {weight_decay}
decay = "all"
clip_grad_norm = 0
"""


def need_gpt2(model):
    if not os.path.isfile(GPT2_GRAPH):
        raise Trouble(f"there is no {os.path.relpath(GPT2_GRAPH)}", "It is part of the repository: git status tells what became of it")


def prepare_gpt2_step(bench, folder):
    """Random weights, written once by PyTorch's side; four rows of random tokens, all but the first of each in the loss."""
    weights, rollouts = os.path.join(folder, "model.safetensors"), os.path.join(folder, "rollouts.jsonl")
    say("gpt2-step: writing random weights")
    made = subprocess.run([bench.python, os.path.join(ROOT, "test", "benchmarks", "pytorch_side.py"), "--gpt2-weights", weights],
                          capture_output=True, text=True)
    if made.returncode:
        raise Trouble(f"PyTorch could not write weights: {made.stderr.strip()[-300:]}", "--python must have torch, transformers and safetensors")
    draw = random.Random(0)
    with open(rollouts, "w") as file:
        for _ in range(GPT2["sequences"]):
            ids = [draw.randrange(50257) for _ in range(GPT2["tokens"])]
            print(json.dumps({"prompt_ids": ids[:1], "completion_ids": ids[1:]}), file=file)
    recipe = GPT2_RECIPE.format(graph=json.dumps(GPT2_GRAPH), weights=json.dumps(weights), **GPT2)
    return GraftTrain(bench, folder, recipe, rollouts), {"weights": weights, "rollouts": rollouts, **GPT2}


SMOLLM2_STEP = Work(
    what="one GRPO step of SmolLM2-135M on 16 padded completions, float32",
    bar=0.50,
    gib=6,
    variants=(Variant("all logits", {"select": False, "compile": False}),
              Variant("selected logits", {"select": True, "compile": False}),
              Variant("selected logits, compiled", {"select": True, "compile": True}, compiles=True)),
    need=need_smollm2,
    prepare=prepare_smollm2_step,
    # The second step has seen the optimizer, which moves the loss by 0.01.
    agree=({"tokens": (0, 0), "loss": (2e-5, 5e-4), "grad_norm": (0, 1e-3)}, {"tokens": (0, 0), "loss": (2e-4, 0), "grad_norm": (0, 1e-2)}))

WORKS = {
    "smollm2-step": SMOLLM2_STEP,
    "smollm2-packed": replace(SMOLLM2_STEP, what="the same step, Graft's side in one packed row with shared prompts", bar=0.20,
                              prepare=lambda bench, folder: prepare_smollm2_step(bench, folder, packed=True)),
    "gpt2-step": Work(
        what="one training step of GPT-2 124M with random weights, 4 x 64 tokens, float32",
        bar=0.52,
        gib=4,
        variants=(Variant("eager", {"compile": False}), Variant("compiled", {"compile": True}, compiles=True)),
        need=need_gpt2,
        prepare=prepare_gpt2_step,
        agree=({"tokens": (0, 0), "loss": (2e-5, 0)}, {"tokens": (0, 0), "loss": (2e-4, 0)})),
}


# ---- Measuring ----


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
    with tempfile.TemporaryDirectory(prefix="against-pytorch-", dir=BUILD) as folder:
        try:
            graft, settings = work.prepare(bench, folder)
            variants = [variant for variant in work.variants if bench.compiles or not variant.compiles]
            check_memory(work.gib * (len(variants) + 1))
            sides = []
            for variant in variants:
                sides.append(PyTorchSide(bench, name, variant, settings))
                sides[-1].warm_up(bench.warmups)
            for number in range(1, bench.rounds + 1):
                for side in (*sides, graft):
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
    return result_of(work, name, graft, sides)


def result_of(work, name, graft, sides):
    """Turns that others disturbed do not count, as long as every side has enough quiet ones."""
    quiet = all(sum(turn.others <= QUIET for turn in side.turns) >= ENOUGH for side in (*sides, graft))

    def part(side):
        seconds = [value for turn in side.turns if turn.others <= QUIET or not quiet for value in turn.seconds]
        return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "count": len(seconds), "turns": len(side.turns),
                "quiet_turns": sum(turn.others <= QUIET for turn in side.turns), "peak_mib": round(side.peak_mib, 1)}
    variants = {side.name.removeprefix("PyTorch, "): part(side) | {"idle_cpu_seconds": round(side.idle_cpu, 2)} for side in sides}
    best = min(variants, key=lambda variant: variants[variant]["median"])
    ours = part(graft)
    ratio = ours["median"] / variants[best]["median"]
    return {"work": name, "ratio": ratio, "bar": work.bar, "holds": ratio <= work.bar, "quiet": quiet, "best": best, "graft": ours, "pytorch": variants,
            "torch": sides[0].ready["torch"]}


def measure_ceilings(bench):
    """What the machine gives PyTorch at this moment."""
    say("the machine's ceilings")
    try:
        side = PyTorchSide(bench, "ceilings", Variant("ceilings", {}), {})
        side.turn()
    finally:
        bench.end_children()
    return side.values[0]


def table(rows):
    """Columns as wide as their widest cell; the first is flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))).rstrip())


def show(result):
    rows = [("work", "PyTorch", "Graft", "ratio", "bar", "", "PyTorch peak", "Graft peak")]
    details = [("side", "median", "from", "to", "steps", "quiet turns", "peak")]
    for work in result["works"]:
        best, ours = work["pytorch"][work["best"]], work["graft"]
        rows.append((work["work"], f"{best['median']:.3f} s", f"{ours['median']:.3f} s", f"{work['ratio']:.3f}", f"{work['bar']:g}",
                     "holds" if work["holds"] else "MISSED", f"{best['peak_mib']:.0f} MiB", f"{ours['peak_mib']:.0f} MiB"))
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
    result = {"works": works, "ceilings": {name: max(before[name], after[name]) for name in before}, "torch": works[0]["torch"], "threads": bench.threads,
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
