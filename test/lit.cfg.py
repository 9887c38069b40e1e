# lit's view of the tests: every .mlir file under test/ is a test of graft-opt (`// RUN: graft-opt %s ... | FileCheck %s`).
import lit.formats

config.name = "graft"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.excludes = ["benchmarks", "data"]  # models, not tests
config.test_source_root = config.graft_test_source
config.test_exec_root = config.graft_test_binary
config.environment["PATH"] = ":".join([config.graft_tools, config.llvm_tools, config.environment["PATH"]])
