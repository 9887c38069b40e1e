"""The two sides of a comparison, PyTorch and Graft, each a process that takes its turns, and how they are watched."""
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
KERNELS = os.path.join(BUILD, "test", "bin", "kernel_benchmark")
# malloc keeps what was freed, or every step pays again for the pages of its activations; and it asks for huge pages, as Graft does.
TUNABLES = f"glibc.malloc.mmap_threshold={1 << 34}:glibc.malloc.trim_threshold={1 << 34}:glibc.malloc.top_pad={1 << 30}:glibc.malloc.hugetlb=1"
QUIET = 0.05  # share of the CPUs that others may take in a turn that counts
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
        self.ready = self.ask({"work": work.removesuffix("-bfloat16"), "compute": bench.compute, "threads": bench.threads, "options": variant.options, "settings": settings}, "making ready")
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


class Graft:
    """A program that is compiled once; each turn is a run of the command line."""

    def __init__(self, bench, folder, recipe):
        self.bench, self.name, self.turns, self.values, self.peak_mib = bench, "Graft", [], [], 0.0
        self.folder, self.program = folder, os.path.join(folder, "program.graft")
        self.log, self.output = os.path.join(bench.logs, "graft.log"), os.path.join(folder, "output.json")
        path = os.path.join(folder, "recipe.toml")
        with open(path, "w") as file:
            file.write(recipe + f'[precision]\ncompute = "{bench.compute}"\n')
        say("Graft: compiling")
        self.run("compile", path, "-o", self.program, "--quiet", "--json")
        self.plan = self.answer()

    def run(self, *arguments):
        """Runs graft to its end; returns what it used of the machine."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "OMP_", "GOMP_", "KMP_"))}
        environment["GRAFT_THREADS"] = str(self.bench.threads)
        with open(self.log, "w") as log, open(self.output, "w") as output:
            process = subprocess.Popen([self.bench.graft, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=environment,
                                       start_new_session=True)
        self.bench.children.append(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.bench.children.remove(process)
        if process.returncode:
            raise Trouble(f"graft {arguments[0]} ended with exit code {process.returncode}{tail(self.log)}",
                          f"The whole output is in {os.path.relpath(self.log)}")
        return usage

    def answer(self):
        with open(self.output) as file:
            return json.loads(file.read())

    def turn(self):
        watch = Watch()
        usage, seconds = self.measured()
        others = watch.share(usage.ru_utime + usage.ru_stime)
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024)
        self.turns.append(Turn(seconds, others))
        time.sleep(SETTLE)


class GraftTrain(Graft):
    """`graft train` on a recipe and rollouts. The first step of each run, which touches all memory for the first time, does not count."""

    def __init__(self, bench, folder, recipe, rollouts):
        super().__init__(bench, folder, recipe)
        self.rollouts = rollouts

    def measured(self):
        out = os.path.join(self.folder, "run")
        steps = self.bench.steps + 1
        usage = self.run("train", self.program, "--rollouts", self.rollouts, "--steps", str(steps), "--out", out, "--quiet")
        with open(os.path.join(out, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        shutil.rmtree(out)  # at once: a checkpoint that is gone needs not be written to the disk while PyTorch measures
        if len(lines) != steps:
            raise Trouble(f"graft train wrote {len(lines)} lines of metrics for {steps} steps", "This is a defect: please report it")
        self.values = self.values or lines
        return usage, [line["seconds"] for line in lines[1:]]


class GraftRun(Graft):
    """`graft run` of one entry on a batch, again and again; `values(answer, file of results)` says what it computed."""

    def __init__(self, bench, folder, recipe, batch, entry, values):
        super().__init__(bench, folder, recipe)
        self.batch, self.entry, self.values_of = batch, entry, values

    def measured(self):
        out = os.path.join(self.folder, "out.safetensors")
        usage = self.run("run", self.program, "--entry", self.entry, "--batch", self.batch, "--out", out, "--repeat", str(self.bench.steps),
                         "--quiet", "--json")
        answer = self.answer()
        self.values = self.values or [self.values_of(self, answer, out)]
        return usage, answer["seconds"]


class Bare:
    """The arithmetic that a work cannot avoid, by Graft's routines alone: a part of kernel_benchmark, which prints milliseconds for each
    product."""

    def __init__(self, bench, part):
        self.bench, self.part, self.name, self.turns, self.peak_mib = bench, part, "bare products", [], 0.0

    def turn(self):
        watch = Watch()
        lines, usage = run_kernels(self.bench, self.part)
        self.turns.append(Turn([sum(float(line.split()[-2]) for line in lines) / 1e3], watch.share(usage.ru_utime + usage.ru_stime)))
        time.sleep(SETTLE)


def run_kernels(bench, part):
    """The lines that kernel_benchmark prints of a part, and what it used of the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([KERNELS, str(bench.threads), part], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise Trouble(f"kernel_benchmark ended with exit code {done.returncode}: {done.stderr[-300:]}", "Build it anew: ninja -C build kernel_benchmark")
    used = SimpleNamespace(ru_utime=after.ru_utime - before.ru_utime, ru_stime=after.ru_stime - before.ru_stime)
    return done.stdout.splitlines()[1:], used
