// What a graph is made of and whether Graft can train it: everything that `graft port` says, as data.
//
// A graph that cannot be imported still has a report: the file's facts, operators and blocks as the graph writes them,
// and all its faults.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mlir {
class MLIRContext;
}

namespace graft::report {

struct PortOptions {
  std::string graph;                    ///< .onnx, .mlir or .mlirbc
  std::string weights;                  ///< checkpoint; empty: one that lies beside the graph, if there is one
  std::string batch;                    ///< safetensors with input_ids, ...; empty: none
  std::optional<int64_t> sequences;     ///< rows and tokens per row to look at; absent: the graph's, the batch's, or
  std::optional<int64_t> tokens;        ///<   defaultSequences x defaultTokens
  int64_t compareFlops = 4'000'000'000; ///< of a forward pass up to which a batch is run by the interpreter
};
inline constexpr int64_t defaultSequences = 2, defaultTokens = 64;

/// How an operator of the imported graph came to be.
enum class OperatorKind {
  Native, ///< means what one operator of the graph means, with a kernel or library call of its own
  Idiom,  ///< recognised: one operator for many of the graph
  Plain,  ///< element-wise arithmetic, reductions, views: fused with their neighbours
};
std::string_view text(OperatorKind kind);

struct OperatorCount {
  std::string name;
  int64_t count = 0;
  OperatorKind kind = OperatorKind::Plain; ///< of imported operators
  bool supported = true;                   ///< of the graph's operators
};

struct ReportBlock {
  std::string path;             ///< "model.layers.N"; "" for what is not repeated
  std::vector<int64_t> indices; ///< empty: not repeated
  std::vector<std::string> parts;
  int64_t operators = 0, parameters = 0,
          flops = 0; ///< of one instance: operators, elements, forward FLOPs of the whole batch
};

struct ReportParameter {
  std::string name;
  std::vector<std::string> aliases;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  bool trained = false;
};

struct LogprobDifference {
  double largest = 0; ///< of log-probs of next tokens, absolute
  int64_t sequence = 0, token = 0;
  int64_t compared = 0;
  std::string reference; ///< "expected.safetensors: logits"
};

struct PortReport {
  std::string graph, format, weights;
  int64_t bytes = 0;
  int64_t irVersion = 0;
  std::string producer;                  ///< name and version of the exporter
  std::map<std::string, int64_t> opsets; ///< by domain, "ai.onnx" for the default one
  std::map<std::string, std::string> metadata;
  std::vector<std::string> inputs, outputs; ///< "input_ids [batch, sequence] INT64"
  bool imported = false;                    ///< the rest is about nn operators; else about the graph's
  int64_t sequences = 0, tokens = 0;
  std::vector<ReportBlock> blocks;
  std::vector<OperatorCount> graphOperators; ///< most frequent first; empty for MLIR
  std::vector<OperatorCount> operators;      ///< imported, most frequent first
  std::vector<ReportParameter> parameters;   ///< by name
  int64_t flops = 0, operatorBytes = 0;      ///< of a forward pass over sequences x tokens
  std::vector<std::string> notes;
  std::optional<LogprobDifference> difference;
  Status faults; ///< why it cannot be compiled; all of them

  int64_t elements(bool trainedOnly) const;
};

/// Errors, instead of a report: the file cannot be read, is no graph (Io, Format, Limit, Path), or options are wrong
/// (Usage). `context` must have rl::registerDialects() appended.
Result<PortReport> makePortReport(const PortOptions &options, mlir::MLIRContext &context);

/// A recipe for the graph, to be pasted into a file.
std::string recipeFor(const PortReport &report);

} // namespace graft::report
