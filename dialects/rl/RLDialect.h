// The rl dialect: what training asks of a model. RLOps.td and RLObjectiveOps.td are the manual.
#pragma once

#include "dialects/nn/NNDialect.h"

#include "dialects/rl/RLDialect.h.inc"

#define GET_OP_CLASSES
#include "dialects/rl/RLOps.h.inc"

namespace graft::rl {

/// The attribute under which function arguments and results carry the name of their array ("input_ids",
/// "grad.model.norm.weight").
constexpr llvm::StringLiteral nameAttribute = "rl.name";

/// How names of arguments begin that hold a packed row of tokens: "packed.input_ids" (passes/import/Pack.h).
constexpr llvm::StringLiteral packedPrefix = "packed.";

/// How names of results begin that are gradients: "grad.NAME" of the parameter NAME.
constexpr llvm::StringLiteral gradientPrefix = "grad.";
/// Buffers that hold the working copy of a parameter: working.NAME.
constexpr llvm::StringLiteral workingPrefix = "working.";

/// On an operator of @accumulate: the part of the step that it belongs to; absent in the forward pass. Operators of
/// different phases are never merged, so what is to be computed again stays so.
constexpr llvm::StringLiteral phaseAttribute = "rl.phase";
constexpr llvm::StringLiteral backwardPhase = "backward";
constexpr llvm::StringLiteral recomputePhase = "recompute";

/// On a product in the region of a token loop: the letter of its equation that counts rows of the chunk.
constexpr llvm::StringLiteral rowsAttribute = "rl.rows";

/// A chunk that is not full is cut to a multiple of its length divided by at most this.
constexpr int64_t chunkParts = 8;

/// Registers rl and everything it builds on.
void registerDialects(mlir::DialectRegistry &registry);

} // namespace graft::rl
