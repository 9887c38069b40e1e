"""Broken and odd objective texts. Every line of BROKEN must be refused with exit 2 (or 3 where a size is at fault); every line of
LEGAL must be accepted by `graft objective check`.

emit(folder) writes them and returns a list of {id, path, kind, expect}; see run.py. The same bytes every time.
"""
import gzip
import os

HEAD = "objective t\ninput logprobs : token\ninput rewards : sequence\n"
LOSS = "loss = token_mean(logprobs)\n"


def loss(expression):
    """A text whose loss is the mean of an expression per token."""
    return f"{HEAD}loss = token_mean({expression})\n"


def chain(count, backwards):
    lines = [f"a{i} = a{i + 1} + 1\n" if i + 1 < count else f"a{i} = logprobs\n" for i in range(count)]
    return HEAD + "".join(reversed(lines) if backwards else lines) + "loss = token_mean(a0)\n"


def doubling(count):
    lines = ["def f0(x) = exp(x) + 1\n"] + [f"def f{i}(x) = f{i - 1}(x + 1) * f{i - 1}(x + 2)\n" for i in range(1, count)]
    return HEAD + "".join(lines) + f"loss = token_mean(f{count - 1}(logprobs))\n"


# id: text. What the name says is wrong is all that is wrong.
BROKEN = {
    # bytes
    "empty": "",
    "only-a-comment": "# nothing here\n",
    "bytes-nul": HEAD + LOSS + "\0",
    "bytes-invalid-utf8": (HEAD + LOSS).encode() + b"\xff\xfe\n",
    "bytes-control": HEAD + LOSS + "\x1b[2J\n",
    "bytes-utf16": (HEAD + LOSS).encode("utf-16"),
    "bytes-gzip": gzip.compress((HEAD + LOSS).encode(), mtime=0),
    "bytes-random": bytes((i * 197 + i // 7) % 256 for i in range(4096)),
    "bytes-right-to-left": HEAD + LOSS + "\u202ex = 1\n",
    "not-an-objective-toml": '[objective]\npreset = "grpo"\n',
    "not-an-objective-json": '{"loss": "token_mean(logprobs)"}\n',
    "not-an-objective-python": "def loss(x):\n    return x.mean()\n",
    "not-an-objective-lfs-pointer": "version https://git-lfs.example/spec/v1\noid sha256:00\nsize 1\n",
    # too much
    "size-2-megabytes": HEAD + LOSS + "#" * (2 << 20),
    "size-100-megabytes": None,  # sparse, see emit
    "depth-parentheses": loss("(" * 100000),
    "depth-closed-parentheses": loss("(" * 5000 + "logprobs" + ")" * 5000),
    "depth-minus": loss("-" * 100000 + "logprobs"),
    "depth-not": loss("where(" + "not " * 50000 + "true, 1, 2)"),
    "depth-power": loss("2" + "^2" * 50000),
    "depth-sum": loss("logprobs" + " + 1" * 50000),
    "depth-if": loss("if true then logprobs else " * 20000 + "logprobs"),
    "depth-calls": loss("exp(" * 50000 + "logprobs" + ")" * 50000),
    "depth-definitions": chain(20000, backwards=False),
    "blow-up-doubling-functions": doubling(64),
    "many-arguments": loss("max(" + "logprobs," * 20000 + "1)"),
    "many-faults": HEAD + "".join(f"a{i} = unknown{i}\n" for i in range(20000)),
    "many-unfinished-lines": HEAD + "x =\n" * 50000,
    "many-quotes": HEAD + '"\n' * 100000,
    "long-name": loss("l" * 500000),
    "long-number": loss("1" * 500000),
    "long-string": HEAD + LOSS + 'source "' + "x" * 500000 + "\n",
    # header
    "header-missing": HEAD.split("\n", 1)[1] + LOSS,
    "header-twice": HEAD + "objective u\n" + LOSS,
    "header-late": HEAD.split("\n", 1)[1] + "objective t\n" + LOSS,
    "header-without-name": "objective\n" + HEAD.split("\n", 1)[1] + LOSS,
    "header-library": "library t\nparam a = 1\n",
    "header-reserved-name": "objective if\n" + LOSS,
    # statements
    "statement-unknown": HEAD + LOSS + "inpt x : token\n",
    "statement-call": HEAD + LOSS + "f(x) = x\n",
    "statement-two-on-a-line": HEAD + "x = 1 y = 2\n" + LOSS,
    "statement-half": HEAD + LOSS + "param\n",
    "input-without-kind": HEAD + LOSS + "input x\n",
    "input-unknown-kind": HEAD + LOSS + "input x : tokens\n",
    "input-reserved": HEAD + LOSS + "input loss_mask : token\n",
    "param-expression": HEAD + LOSS + "param p = 1 + 2\n",
    "param-out-of-range": HEAD + LOSS + "param p = 2 from 0 to 1\n",
    "param-not-listed": HEAD + LOSS + 'param p = "c" in ["a", "b"]\n',
    "param-mixed-choices": HEAD + LOSS + 'param p = 1 in ["a", "b"]\n',
    "param-open-list": HEAD + LOSS + 'param p = "a" in ["a", \n',
    "param-nan": HEAD + LOSS + "param p = nan\n",
    "default-unknown": HEAD + LOSS + "default p = 1\n",
    "default-not-listed": HEAD + LOSS + 'use aggregation\ndefault aggregation = "token-mean"\n',
    "use-unknown": HEAD + LOSS + "use nothing_of_that_name\n",
    "use-a-path": HEAD + LOSS + "use ../../etc/passwd\n",
    "use-a-string": HEAD + LOSS + 'use "grpo"\n',
    "metric-twice": HEAD + LOSS + "metric m = tokens\nmetric m = rows\n",
    "metric-per-token": HEAD + LOSS + "metric m = logprobs\n",
    "defined-twice": HEAD + LOSS + LOSS,
    "defined-built-in": HEAD + LOSS + "exp = 1\n",
    # names and kinds
    "unknown-name": loss("logprob"),
    "unknown-function": loss("expp(logprobs)"),
    "loss-missing": HEAD,
    "loss-per-token": HEAD + "loss = logprobs\n",
    "loss-constant": HEAD + "loss = 1\n",
    "cycle": HEAD + "a = b\nb = a\nloss = token_mean(logprobs * a)\n",
    "cycle-of-loss": HEAD + "loss = token_mean(logprobs) + loss\n",
    "recursion": HEAD + "def f(x) = f(x)\nloss = token_mean(f(logprobs))\n",
    "batch-of-tokens": HEAD + "loss = batch_mean(logprobs)\n",
    "condition-as-number": loss("logprobs + (logprobs > 1)"),
    "number-as-condition": loss("where(logprobs, 1, 2)"),
    "string-as-number": loss('logprobs + "a"'),
    "if-per-token": loss("if logprobs > 1 then 1 else logprobs"),
    "comparison-chain": loss("where(0 < logprobs < 1, 1, 2)"),
    "division-by-zero": loss("logprobs / 0"),
    "number-too-large": loss("logprobs * 1e999"),
    "clip-crossed-bounds": loss("clip(logprobs, 2, 1)"),
    "arguments-missing": loss("clip(logprobs)"),
    "option-unknown": HEAD + "loss = token_mean(logprobs, axis = 1)\n",
}

LEGAL = {
    "smallest": HEAD + LOSS,
    "byte-order-mark": "\ufeff" + HEAD + LOSS,
    "windows-line-ends": (HEAD + LOSS).replace("\n", "\r\n"),
    "no-final-newline": (HEAD + LOSS).rstrip("\n"),
    "tabs": (HEAD + LOSS).replace(" ", "\t"),
    "letters-of-other-scripts-in-comments": "# größe 重み 😀\n" + HEAD + LOSS,
    "keywords-as-names": HEAD + "use = 1\nsource = 2\ninput = 3\nmetric = 4\nloss = token_mean(logprobs * use * source * input * metric)\n",
    "definitions-in-any-order": HEAD + "loss = token_mean(b)\nb = a + 1\na = logprobs\n",
    "long-chain-of-definitions": chain(5000, backwards=True),
    "many-parentheses": loss("(" * 80 + "logprobs" + ")" * 80),
    "long-sum": loss("logprobs" + " + 1" * 150),
    "infinite-parameter": HEAD + "param p = inf\nparam q = -inf\nloss = token_mean(clip(logprobs, q, p))\n",
    "expression-over-lines": HEAD + "loss =\n\n  token_mean(\n    logprobs # the input\n  )\n  - 0\n",
    "unused-definition": HEAD + LOSS + "x = logprobs * 2\n",
    "uses-a-preset": "objective t\nuse grpo\ndefault clip_high = 0.28\n",
    "uses-itself-by-name": "objective t\nuse grpo\nuse grpo\n",
    "advantages": "advantages t\ninput rewards : sequence\nadvantages = rewards - group_mean(rewards)\n",
    "a-long-comment": HEAD + LOSS + "# " + "x" * 500000 + "\n",
    "5000-comment-lines": HEAD + "# more\n" * 5000 + LOSS,
}


def special_files(folder):
    """Things that are no regular files: id -> path."""
    paths = {f"file-{name}": os.path.join(folder, f"file-{name}.objective") for name in ("folder", "pipe", "device", "link-loop", "dangling-link", "absent")}
    os.mkdir(paths["file-folder"])
    os.mkfifo(paths["file-pipe"])
    os.symlink("/dev/zero", paths["file-device"])
    os.symlink(paths["file-link-loop"], paths["file-link-loop"])
    os.symlink(os.path.join(folder, "nowhere"), paths["file-dangling-link"])
    return paths


LIMITS = ("size-", "depth-", "blow-up-", "long-name")


def emit(folder):
    cases = []
    for good, texts in ((False, BROKEN), (True, LEGAL)):
        for name, text in texts.items():
            path = os.path.join(folder, f"{name}.objective")
            with open(path, "wb") as file:
                if text is None:
                    file.write((HEAD + LOSS).encode())
                    file.truncate(100_000_000)
                else:
                    file.write(text.encode() if isinstance(text, str) else text)
            expect = "ok" if good else "limit" if name.startswith(LIMITS) else "usage"
            cases.append({"id": f"objective-{name}", "path": path, "kind": "objective", "expect": expect})
    for name, path in special_files(folder).items():
        cases.append({"id": f"objective-{name}", "path": path, "kind": "objective", "expect": "io"})
    return cases
