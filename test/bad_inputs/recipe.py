"""Broken and odd recipes. Every line of BROKEN is a recipe that must be refused with exit 2; every line of LEGAL must be accepted.

emit(folder) writes them and returns a list of {id, path, kind, expect}; see run.py. The same bytes every time.
"""
import gzip
import os

GOOD = """[model]
graph = "model.onnx"
[objective]
preset = "grpo"
[batch]
sequences = 2
tokens = 8
"""


def changed(old, new):
    assert old in GOOD, old
    return GOOD.replace(old, new)


def with_key(table, line):
    """The good recipe with one more line in a table."""
    header = f"[{table}]\n"
    return GOOD.replace(header, header + line + "\n") if header in GOOD else f"{GOOD}{header}{line}\n"


# id: text. What the name says is wrong is all that is wrong.
BROKEN = {
    # what TOML does not allow
    "syntax-open-table": GOOD + "[optimizer\nlr = 1\n",
    "syntax-open-string": GOOD + '[optimizer]\nname = "adamw\n',
    "syntax-open-text-block": GOOD + '[optimizer]\nname = """adamw\n',
    "syntax-open-array": GOOD + "[optimizer]\nbetas = [0.9,\n",
    "syntax-open-inline-table": GOOD + "optimizer = {lr = 1\n",
    "syntax-no-value": with_key("optimizer", "lr ="),
    "syntax-no-key": with_key("optimizer", "= 1"),
    "syntax-two-values": with_key("optimizer", "lr = 1 2"),
    "syntax-bare-word": with_key("optimizer", "name = adamw"),
    "syntax-colon": with_key("optimizer", "lr: 1"),
    "syntax-bad-escape": with_key("optimizer", 'name = "\\q"'),
    "syntax-lone-surrogate": with_key("optimizer", 'name = "\\ud800"'),
    "syntax-number-of-dots": with_key("optimizer", "lr = 1.2.3"),
    "syntax-integer-too-large": with_key("batch", "micro_batches = 99999999999999999999"),
    "syntax-float-too-large": with_key("optimizer", "lr = 1e999"),
    "syntax-leading-zero": with_key("batch", "micro_batches = 007"),
    "not-toml-json": '{"model": {"graph": "model.onnx"}}\n',
    "not-toml-yaml": "model:\n  graph: &a [*a, *a]\n",
    "not-toml-html": "<!DOCTYPE html><html></html>\n",
    "not-toml-lfs-pointer": "version https://git-lfs.example/spec/v1\noid sha256:00\nsize 1\n",
    # bytes
    "bytes-nul": GOOD.encode() + b"\0",
    "bytes-nul-in-string": changed("model.onnx", "model\0.onnx"),
    "bytes-invalid-utf8": GOOD.encode() + b"# \xff\xfe\n",
    "bytes-overlong-utf8": changed("model.onnx", "XX").encode().replace(b"XX", b"\xc0\xae\xc0\xae/x"),
    "bytes-utf16": GOOD.encode("utf-16"),
    "bytes-control": changed("model.onnx", "model\x1b[2J.onnx"),
    "bytes-gzip": gzip.compress(GOOD.encode(), mtime=0),
    "bytes-random": bytes((i * 197 + i // 7) % 256 for i in range(4096)),
    "bytes-truncated": GOOD[:-30],
    # too much
    "size-comment-of-1-mib": GOOD + "#" * (1 << 20),
    "size-100-megabytes": None,  # sparse, see emit
    "depth-dotted-key": GOOD + "a" + ".a" * 200000 + " = 1\n",
    "depth-table-header": GOOD + "[a" + ".a" * 200000 + "]\n",
    "depth-arrays": with_key("optimizer", "betas = " + "[" * 100000),
    "depth-closed-arrays": with_key("optimizer", "betas = " + "[" * 5000 + "]" * 5000),
    "depth-inline-tables": GOOD + "x = " + "{a=" * 100000 + "\n",
    "many-unknown-keys": GOOD + "".join(f"key{i} = 1\n" for i in range(20000)),
    "many-tables": GOOD + "".join(f"[table{i}]\n" for i in range(20000)),
    "many-duplicates": GOOD + "tokens = 8\n" * 50000,
    "many-table-arrays": GOOD + "[[x]]\n" * 100000,
    "long-key": GOOD + "k" * 500000 + " = 1\n",
    "long-value": changed('"grpo"', '"grpo"\nkl = "' + "v" * 500000 + '"'),
    # names
    "unknown-table": GOOD + "[sampling]\ntemperature = 1.0\n",
    "unknown-top-level-key": "seed = 1\n" + GOOD,
    "unknown-key": with_key("optimizer", "learning_rate = 1e-6"),
    "misspelt-table": GOOD + "[optimiser]\nlr = 1e-6\n",
    "misspelt-key": with_key("batch", "microbatches = 2"),
    "upper-case-key": with_key("optimizer", "LR = 1e-6"),
    "key-in-another-table": with_key("model", "lr = 1e-6"),
    "empty-key": GOOD + '"" = 1\n',
    "terminal-escape-in-key": GOOD + '"\\u001b]0;x\\u0007" = 1\n',
    "right-to-left-key": GOOD + '"\u202egraph" = 1\n',
    "duplicate-key": changed("tokens = 8", "tokens = 8\ntokens = 9"),
    "duplicate-quoted-key": changed("tokens = 8", 'tokens = 8\n"tokens" = 8'),
    "duplicate-table": GOOD + '[model]\nweights = "w"\n',
    "table-and-key": GOOD + "[batch.tokens]\n",
    # presence
    "empty": "",
    "only-a-comment": "# nothing here\n",
    "no-model": GOOD.split("[objective]")[1].join(["[objective]", ""]),
    "no-graph": changed('graph = "model.onnx"\n', ""),
    "no-objective": changed('[objective]\npreset = "grpo"\n', ""),
    "no-tokens": changed("tokens = 8\n", ""),
    "no-sequences": changed("sequences = 2\n", ""),
    "preset-and-file": with_key("objective", 'file = "mine.objective"'),
    # kinds
    "table-is-a-number": GOOD + "optimizer = 3\n",
    "table-is-an-array": GOOD + "[[optimizer]]\nlr = 1e-6\n",
    "graph-is-a-number": changed('"model.onnx"', "7"),
    "graph-is-an-array": changed('"model.onnx"', '["model.onnx"]'),
    "graph-is-empty": changed("model.onnx", ""),
    "graph-has-a-newline": changed("model.onnx", "a\\nb"),
    "sequences-is-text": changed("sequences = 2", 'sequences = "2"'),
    "sequences-is-a-float": changed("sequences = 2", "sequences = 2.0"),
    "sequences-is-true": changed("sequences = 2", "sequences = true"),
    "tokens-is-a-date": changed("tokens = 8", "tokens = 2026-01-01"),
    "lr-is-text": with_key("optimizer", 'lr = "1e-6"'),
    "lr-is-an-array": with_key("optimizer", "lr = [1e-6]"),
    "betas-is-a-number": with_key("optimizer", "betas = 0.9"),
    "betas-of-texts": with_key("optimizer", 'betas = ["0.9", "0.95"]'),
    "names-to-a-number": GOOD + '[model.names]\n"a" = 1\n',
    "names-without-quotes": GOOD + '[model.names]\nlm_head.weight = "x"\n',
    "names-to-nothing": GOOD + '[model.names]\n"a" = ""\n',
    "parameter-is-an-array": with_key("objective", "clip_low = [0.2]"),
    "parameter-is-a-table": GOOD + "[objective.clip_low]\nx = 1\n",
    "parameter-is-not-finite": with_key("objective", "clip_low = nan"),
    # ranges
    "sequences-0": changed("sequences = 2", "sequences = 0"),
    "sequences-negative": changed("sequences = 2", "sequences = -1"),
    "sequences-huge": changed("sequences = 2", "sequences = 9223372036854775807"),
    "tokens-1": changed("tokens = 8", "tokens = 1"),
    "tokens-huge": changed("tokens = 8", "tokens = 4294967296"),
    "micro-batches-0": with_key("batch", "micro_batches = 0"),
    "micro-batches-of-a-word": with_key("batch", 'micro_batches = "automatic"'),
    "packed-1": with_key("batch", "packed = 1"),
    "packed-huge": with_key("batch", "packed = 4294967296"),
    "packed-is-true": with_key("batch", "packed = true"),
    "share-prompts-1": with_key("batch", "share_prompts = 1"),
    "lr-negative": with_key("optimizer", "lr = -1e-6"),
    "lr-nan": with_key("optimizer", "lr = nan"),
    "lr-infinite": with_key("optimizer", "lr = inf"),
    "betas-of-one": with_key("optimizer", "betas = [0.9]"),
    "betas-of-three": with_key("optimizer", "betas = [0.9, 0.95, 0.99]"),
    "beta-1": with_key("optimizer", "betas = [0.9, 1.0]"),
    "beta-negative": with_key("optimizer", "betas = [-0.1, 0.95]"),
    "eps-nan": with_key("optimizer", "eps = nan"),
    "weight-decay-negative": with_key("optimizer", "weight_decay = -0.1"),
    "in-backward-1": with_key("optimizer", "clip_grad_norm = 0\nin_backward = 1"),
    "in-backward-and-clip": with_key("optimizer", "in_backward = true\nclip_grad_norm = 1"),
    "in-backward-and-default-clip": with_key("optimizer", "in_backward = true"),
    "in-backward-and-skip": with_key("optimizer", 'in_backward = true\nclip_grad_norm = 0\non_nonfinite = "skip"'),
    "in-backward-and-micro-batches": GOOD + "micro_batches = 2\n[optimizer]\nin_backward = true\nclip_grad_norm = 0\n",
    "clip-negative": with_key("optimizer", "clip_grad_norm = -1"),
    "warmup-negative": GOOD + "[optimizer.schedule]\nwarmup_steps = -1\n",
    # choices
    "optimizer-unknown": with_key("optimizer", 'name = "sgd"'),
    "decay-unknown": with_key("optimizer", 'decay = "none"'),
    "aggregation-misspelt": with_key("objective", 'aggregation = "token-mean"'),
    "kl-unknown": with_key("objective", 'kl = "k4"'),
    "old-logprobs-unknown": with_key("objective", 'old_logprobs = "sampler"'),
    "schedule-unknown": GOOD + '[optimizer.schedule]\nkind = "exponential"\n',
    "device-unknown": GOOD + '[target]\ndevice = "tpu"\n',
    # not yet
    "precision-unknown": GOOD + '[precision]\nparameters = "float16"\n',
    "state-unknown": with_key("optimizer", 'state = "4bit"'),
    "not-yet-tf32": GOOD + '[precision]\ncompute = "tf32"\n',
    "not-yet-adapter": GOOD + '[adapter]\nkind = "lora"\nrank = 16\ntargets = ["*.q_proj"]\n',
    "budget-0": GOOD + '[memory]\nbudget = "0GiB"\n',
    "budget-negative": GOOD + '[memory]\nbudget = "-1GiB"\n',
    "budget-without-unit": GOOD + '[memory]\nbudget = "6"\n',
    "budget-of-another-unit": GOOD + '[memory]\nbudget = "6 gigs"\n',
    "budget-as-a-number": GOOD + "[memory]\nbudget = 6442450944\n",
    "budget-not-finite": GOOD + '[memory]\nbudget = "infGiB"\n',
    "budget-huge": GOOD + '[memory]\nbudget = "9999999999TiB"\n',
    "not-yet-mesh": GOOD + "[mesh]\ndata = 2\ntensor = 2\n",
    "not-yet-cuda": GOOD + '[target]\ndevice = "cuda"\n',
    "not-yet-groups": GOOD + '[[optimizer.groups]]\nmatch = "*.bias"\n',
}

LEGAL = {
    "smallest": GOOD,
    "byte-order-mark": "\ufeff" + GOOD,
    "windows-line-ends": GOOD.replace("\n", "\r\n"),
    "no-final-newline": GOOD.rstrip("\n"),
    "tables-in-another-order": "\n".join(reversed(["[model]\ngraph = 'model.onnx'\n", "[objective]\npreset = 'grpo'\n", "[batch]\ntokens = 8\nsequences = 2\n"])),
    "inline-tables": "model = {graph = 'model.onnx'}\nobjective = {preset = 'grpo'}\nbatch = {sequences = 2, tokens = 8}\n",
    "dotted-keys": "model.graph = 'model.onnx'\nobjective.preset = 'grpo'\nbatch.sequences = 0x2\nbatch.\"tokens\" = 0b1000\n",
    "text-blocks": changed('"model.onnx"', '"""\\\n   model.onnx"""'),
    "integers-for-numbers": with_key("optimizer", "lr = 0\neps = 1\nbetas = [0, 0]\nclip_grad_norm = 0"),
    "underscored-integers": changed("tokens = 8", "tokens = 1_024"),
    "micro-batches-chosen": with_key("batch", 'micro_batches = "auto"'),
    "in-backward": with_key("optimizer", "in_backward = true\nclip_grad_norm = 0"),
    "packed": with_key("batch", "packed = 64\nshare_prompts = false"),
    "everything-narrow": GOOD + "[optimizer]\nstate = '8bit'\n[precision]\nparameters = 'bfloat16'\ncompute = 'bfloat16'\n",
    "a-budget": GOOD + '[memory]\nbudget = "6.5 GiB"\n',
    "defaults-spelled-out": GOOD + "share_prompts = true\n[mesh]\ndata = 1\ntensor = 1\n[precision]\nparameters = 'float32'\n[target]\ndevice = 'cpu'\n",
    "empty-tables": GOOD + "[optimizer]\n[optimizer.schedule]\n[model.names]\n[memory]\n",
    "names-of-other-scripts": GOOD + '[model.names]\n"gewicht.größe" = "重み"\n',
    "dots-in-a-comment": GOOD + "# " + "." * 5000 + "\n",
    "a-long-comment": GOOD + "# " + "x" * 500000 + "\n",
    "absolute-path": changed("model.onnx", "/nowhere/model.onnx"),
    "path-of-the-parent-folder": changed("model.onnx", "../model.onnx"),
    "largest-batch": changed("sequences = 2\ntokens = 8", "sequences = 65536\ntokens = 1048576"),
}


def special_files(folder):
    """Things that are no regular files: id -> path."""
    paths = {f"file-{name}": os.path.join(folder, f"file-{name}.toml") for name in ("folder", "pipe", "device", "link-loop", "dangling-link", "absent")}
    os.mkdir(paths["file-folder"])
    os.mkfifo(paths["file-pipe"])
    os.symlink("/dev/zero", paths["file-device"])
    os.symlink(paths["file-link-loop"], paths["file-link-loop"])
    os.symlink(os.path.join(folder, "nowhere"), paths["file-dangling-link"])
    return paths


def emit(folder):
    cases = []
    for expect, texts in (("usage", BROKEN), ("ok", LEGAL)):
        for name, text in texts.items():
            path = os.path.join(folder, f"{name}.toml")
            with open(path, "wb") as file:
                if text is None:
                    file.write(GOOD.encode())
                    file.truncate(100_000_000)
                else:
                    file.write(text.encode() if isinstance(text, str) else text)
            cases.append({"id": f"recipe-{name}", "path": path, "kind": "recipe", "expect": expect})
    for name, path in special_files(folder).items():
        cases.append({"id": f"recipe-{name}", "path": path, "kind": "recipe", "expect": "usage"})
    return cases
