"""Rollout files, broken ones and legal but odd ones. emit(folder) as in weights.py; kind is "rollouts".

Legal ones have 3 completions, ids below 100 and sequences of at most 6 tokens: run them with a program that needs no more, and
whose objective needs rewards and groups.
"""
import json
import os

GOOD = {"prompt_ids": [1, 2], "completion_ids": [3, 4], "reward": 1.0, "group_id": 0}


def line(**change):
    """GOOD with changes; a value of None leaves the field out."""
    fields = {**GOOD, **change}
    return json.dumps({k: v for k, v in fields.items() if v is not None})


def raw(field, text):
    """GOOD with any JSON text as a field's value."""
    return json.dumps({k: v for k, v in GOOD.items() if k != field})[:-1] + ', "%s": %s}' % (field, text)


def legal():
    """Three completions each."""
    def thrice(text):
        return "\n".join([text] * 3) + "\n"

    yield "plain", thrice(line())
    yield "different-rewards", "\n".join(line(reward=r) for r in (0, 0.5, 1)) + "\n"
    yield "blank-lines-and-crlf", "\n" + line() + "\r\n  \n" + line(reward=0) + "\r\n\r\n" + line() + "\r\n"
    yield "no-final-line-feed", thrice(line())[:-1]
    yield "unknown-fields", thrice(line(answer={"x": [1, None]}, note="\u202e\x1b[31m"))
    yield "null-is-absent", thrice(raw("advantage", "null"))
    yield "group-is-text", thrice(line(group_id="a"))
    yield "group-is-negative", thrice(line(group_id=-1))
    yield "empty-completion", line(completion_ids=[]) + "\n" + line() + "\n" + line(reward=0)
    yield "underflow", thrice(raw("reward", "1e-999"))
    yield "integers-as-numbers", thrice(line(reward=1, sampler_logprobs=[0, -1]))
    yield "escaped-key", thrice(line(reward=None)[:-1] + ', "\\u0072eward": 1}')
    yield "more-than-one-step", thrice(thrice(line())[:-1])


def syntax():
    for name, text in (("no-json", "hello"), ("list", "[1]"), ("number", "1"), ("unfinished", line()[:-1]), ("two-objects", line() + line()), ("trailing-comma", line()[:-1] + ",}"),
                       ("single-quotes", line().replace('"', "'")), ("nan", raw("reward", "NaN")), ("infinity", raw("reward", "-Infinity")), ("comment", line() + " // x"), ("plus", raw("reward", "+1")),
                       ("leading-zero", raw("reward", "01")), ("nul", line() + "\0"), ("lone-surrogate", raw("prompt", '"\\ud800"')), ("control", raw("prompt", '"\x01"')), ("deep", raw("x", "[" * 100_000))):
        yield "syntax-" + name, text
    yield "syntax-bom", "\ufeff" + line()
    yield "syntax-second-line", line() + "\n{\n" + line()
    yield "syntax-whole-array", "[" + line() + ",\n" + line() + "]"
    yield "syntax-pretty-printed", json.dumps(GOOD, indent=1)


def fields():
    for name in GOOD:
        yield f"missing-{name}", line(**{name: None})
        yield f"null-{name}", raw(name, "null")
        yield f"twice-{name}", line()[:-1] + ', "%s": %s}' % (name, json.dumps(GOOD[name]))
    for name in ("prompt_ids", "completion_ids"):
        for i, text in enumerate(("5", '"5"', "{}", "true", "[-1]", "[1.0]", "[1e2]", '["1"]', "[null]", "[true]", "[[1]]", "[2147483648]", "[99999999999999999999]", "[-9223372036854775809]")):
            yield f"{name}-{i}", raw(name, text)
        yield f"{name}-vocabulary", raw(name, "[100000000]")
        yield f"{name}-long", raw(name, json.dumps([1] * 100_000))
    yield "prompt_ids-empty", line(prompt_ids=[])
    for name in ("reward", "advantage"):
        for i, text in enumerate(('"1"', "true", "[1]", "{}", "1e999", "-1e999", "1e39")):
            yield f"{name}-{i}", raw(name, text)
    for i, text in enumerate(("1.5", "1e3", "[1]", "{}", "true", "99999999999999999999")):
        yield f"group_id-{i}", raw("group_id", text)
    for name in ("sampler_logprobs", "old_logprobs", "ref_logprobs", "values", "returns", "advantages"):
        for i, text in enumerate(("1", "[]", "[0]", "[0,0,0]", "[0,null]", '[0,"0"]', "[0,1e999]", "[[0,0]]")):
            yield f"{name}-{i}", raw(name, text)
    for name, text in (("truncated", "1"), ("prompt", "1"), ("completion", "[]")):
        yield f"{name}-type", raw(name, text)
    yield "advantage-twice", line(advantage=1, advantages=[1, 1])
    yield "unknown-twice", line()[:-1] + ', "x": 1, "x": 2}'


def emit(folder):
    cases = []
    os.makedirs(folder, exist_ok=True)

    def add(name, contents, expect):
        path = os.path.join(folder, name + ".jsonl")
        with open(path, "wb") as f:
            f.write(contents if isinstance(contents, bytes) else contents.encode())
        cases.append({"id": "rollouts-" + name, "path": path, "kind": "rollouts", "expect": expect})

    for name, text in legal():
        add("legal-" + name, text, "ok")
    for name, text in syntax():
        add(name, text, "format|limit")
    for name, text in fields():
        add(name, text, "type|range|format|graph|limit")
    add("syntax-ff", line().encode()[:-1] + b', "x": "\xff"}', "format")
    add("syntax-utf16", line().encode("utf-16"), "format")
    add("gzip", b"\x1f\x8b\x08" + b"\0" * 100, "format")
    add("line-of-20-MB", '{"x": "' + "x" * 20_000_000 + '"}', "limit")
    add("many-faults", "x\n" * 100_000, "format")
    add("good-before-a-fault", (line() + "\n") * 1000 + "{}", "graph")
    # A run checks what it will use: this one uses all lines.
    cases[-1]["args"] = ["train", "{training}", "--rollouts", "{path}", "--steps", "400", "--out", "{out}"]
    folder_path = os.path.join(folder, "folder.jsonl")
    os.makedirs(folder_path)
    fifo = os.path.join(folder, "fifo.jsonl")
    os.mkfifo(fifo)
    sparse = os.path.join(folder, "sparse.jsonl")
    with open(sparse, "wb") as f:
        f.truncate(2**28)
    for name, path, expect in (("folder", folder_path, "io"), ("fifo", fifo, "io"), ("sparse", sparse, "limit"), ("absent", os.path.join(folder, "absent.jsonl"), "io")):
        cases.append({"id": "rollouts-" + name, "path": path, "kind": "rollouts", "expect": expect})
    return cases
