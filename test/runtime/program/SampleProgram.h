// A small program with every kind of instruction, written by hand: a table of embeddings and a linear layer.
//
//   h [6, 3] = embed[ids]      y [6, 4] = h weight^T      loss = bias + sum (y - target)^2 / 2
//
// Entries: `predict` (y, and y transposed), `accumulate` (overwrites gradients), `accumulate_more` (adds). Parameters:
// `embed` [5, 3], `weight` [4, 3] with a row pitch and alias `tied`, `frozen` [2], which nothing uses.
#pragma once

#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <vector>

namespace graft::test {

/// A valid program; tests break what they are about. The kernels' object code comes from the build tree.
schema::ProgramT sampleProgram(int64_t pitch = 16);

/// A program without weights: entry `attend` runs attention forward and backward. Inputs q, dout [2, 128, 4, 16], k, v
/// [2, 128, 2, 16] (positions before heads), valid [2, 128] bool, segments [2, 128] int64; outputs o, dq, dk, dv, lse
/// [2, 4, 128]. Causal, window 100, scale 1/4, soft-cap 5.
schema::ProgramT attentionProgram();

/// A program without weights: entry `loop` copies the rows of x [6, 4] that mask [6] selects to y (zeros elsewhere), in
/// chunks of four, and gives the sum of x^T x over them [4, 4].
schema::ProgramT loopProgram();

/// Parameters `weight` [4, 3] with a row pitch of 16, trained, and `frozen` [2, 3], both with a working copy; entry
/// `accumulate` gives `product` [4, 2] = weight frozen^T of the copies.
schema::ProgramT workingCopyProgram();

/// The sample with its optimizer in the backward pass: entries `predict` and `step`, which updates `weight` at 6 and
/// `embed` at 8; gradients lie in the arena, and `weight` has a row pitch of 3.
schema::ProgramT stepProgram();

/// Bytes of the sample's file.
std::vector<uint8_t> sampleFile();

} // namespace graft::test
