"""Packs the node tests of an installed onnx package (1.22.0) for ConformanceTest.cpp.

Each test becomes one model file: operands that must be known when a graph is compiled (integers of at most one
dimension, booleans without dimensions) become initializers, the other inputs and the expected outputs are added as
initializers named "given:NAME" and "expected:NAME". Tests of later opsets whose operator did not change since opset 23
are marked as 23.

    python3 make_node_tests.py OUTPUT_FOLDER OPERATOR...
"""
import glob
import os
import sys

import onnx
from onnx import numpy_helper

TYPES = {1, 6, 7, 9, 11}  # FLOAT, INT32, INT64, BOOL, DOUBLE
OPSETS = range(13, 24)
MAX_BYTES = 8_000


def tensors(folder, kind, values):
    out = []
    for index, value in enumerate(values):
        path = f"{folder}/test_data_set_0/{kind}_{index}.pb"
        if not os.path.exists(path):
            return None
        tensor = onnx.TensorProto()
        with open(path, "rb") as file:
            try:
                tensor.ParseFromString(file.read())
                numpy_helper.to_array(tensor)
            except Exception:  # a sequence or an optional value
                return None
        if tensor.data_type not in TYPES:
            return None
        tensor.name = value.name
        out.append(tensor)
    return out


def known_at_compile_time(tensor, operator, position):
    data_operand = position == 0 and operator not in ("Range", "ConstantOfShape")
    return not data_operand and (
        tensor.data_type in (6, 7) and len(tensor.dims) <= 1 or tensor.data_type == 9 and not tensor.dims
        or operator == "Range")


def pack(folder, operators):
    model = onnx.load(f"{folder}/model.onnx")
    if "window" in folder or model.functions or not {node.op_type for node in model.graph.node} <= operators:
        return None
    version = next((o.version for o in model.opset_import if o.domain == ""), 0)
    if version > 23:
        # Schemas differ in the types they allow; what the importer does not know, it must decline.
        version = 23
        for opset in model.opset_import:
            opset.version = 23
    if version not in OPSETS:
        return None
    inputs = tensors(folder, "input", model.graph.input)
    outputs = tensors(folder, "output", model.graph.output)
    if inputs is None or outputs is None:
        return None
    operator = model.graph.node[0].op_type if len(model.graph.node) == 1 else ""
    kept = []
    for position, (tensor, value) in enumerate(zip(inputs, model.graph.input)):
        if known_at_compile_time(tensor, operator, position) or operator == "Range":
            model.graph.initializer.append(tensor)
        else:
            kept.append(value)
            tensor.name = "given:" + tensor.name
            model.graph.initializer.append(tensor)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for tensor in outputs:
        tensor.name = "expected:" + tensor.name
        model.graph.initializer.append(tensor)
    model.ir_version = min(model.ir_version, 10)
    data = model.SerializeToString()
    return data if len(data) <= MAX_BYTES else None


def main():
    target, operators = sys.argv[1], set(sys.argv[2:])
    os.makedirs(target, exist_ok=True)
    root = os.path.dirname(onnx.__file__) + "/backend/test/data/node"
    count = 0
    for folder in sorted(glob.glob(root + "/test_*")):
        data = pack(folder, operators)
        if data is not None:
            count += 1
            with open(f"{target}/{os.path.basename(folder)[5:]}.onnx", "wb") as file:
                file.write(data)
    print(count, "tests")


if __name__ == "__main__":
    main()
