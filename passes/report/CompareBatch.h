// Whether the imported graph computes what the exporter's model computed on a batch.
#pragma once

#include "passes/report/PortReport.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <functional>

namespace graft::report {

/// Values of a parameter in row-major order; all elements.
using ParameterValues = std::function<Result<std::vector<double>>(const std::string &name)>;

/// Shape [B, S] of `input_ids` in a batch file. Graph fault if it has none, Type or Range if it is no matrix.
Result<std::pair<int64_t, int64_t>> batchShape(const std::string &path);

/// Runs `function` in float64 on the arrays of `batch` and compares log-probs of next tokens with the `logits` or
/// `logprobs` that the batch file, or expected.safetensors beside it, holds. Nothing if neither does. Absent inputs are
/// made: a mask of ones, positions that count real tokens. Tokens under a mask of 0 are not compared.
Result<std::optional<LogprobDifference>> compareBatch(mlir::func::FuncOp function, const std::string &batch,
                                                      const ParameterValues &values);

} // namespace graft::report
