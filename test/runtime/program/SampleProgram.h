// A small program with every kind of instruction, written by hand: a table of embeddings and a linear layer.
//
//   h [6, 3] = embed[ids]      y [6, 4] = h weight^T      loss = bias + sum (y - target)^2 / 2
//
// Entries: `predict` (y, and y transposed), `accumulate` (overwrites gradients), `accumulate_more` (adds). Parameters:
// `embed` [5, 3], `weight` [4, 3] with a row pitch of 16 and alias `tied`, `frozen` [2], which nothing uses.
#pragma once

#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <vector>

namespace graft::test {

/// A valid program; tests break what they are about. The kernels' object code comes from the build tree.
schema::ProgramT sampleProgram();

/// Bytes of its file.
std::vector<uint8_t> sampleFile();

} // namespace graft::test
