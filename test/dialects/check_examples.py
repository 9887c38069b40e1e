"""Tests that every operator of the given .td files has an `Example:`, and that the example stands, word for word, in the
round-trip test (check_examples.py TEST.mlir OPS.td...), where graft-opt parses it."""
import re
import sys

test = re.sub(r"\s+", " ", open(sys.argv[1], encoding="utf-8").read())
faults = []
for path in sys.argv[2:]:
    source = open(path, encoding="utf-8").read()
    for block in re.split(r"\n(?=def )", source)[1:]:
        if "let description" not in block:
            continue  # no operator: a type, an attribute
        name = re.match(r"def (\w+)", block).group(1)
        example = re.search(r"Example:\s+`([^`]+)`", block)
        if example is None:
            faults.append(f"{path}: {name} has no example")
        elif re.sub(r"\s+", " ", example.group(1)) not in test:
            faults.append(f"{sys.argv[1]}: lacks the example of {name}: {example.group(1)}")
sys.exit("\n".join(faults) or 0)  # an empty text would be an error to exit()
