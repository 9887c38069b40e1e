// What a program says besides instructions: parameters, optimizer, settings, recipe, fingerprints.
#pragma once

#include "passes/Compiler.h"

namespace graft {

/// Fills the program's tables. Parameters are in the order of their names; offsets are not set. Settings, by key:
///   batch.sequences, batch.tokens, batch.micro_batches   as in the recipe
///   batch.packed                                          places of a packed row, 0: rows are padded
///   batch.share_prompts                                   1: a packed row holds a prompt once for all that share it
///   batch.pad_id                                          config.json's pad_token_id beside graph or weights, else 0
///   batch.vocabulary                                      token ids must be below it
///   metric.NAME                                           exact, sum, max, min, whole: how micro-batches combine
///   optimizer.on_nonfinite                                stop, skip
///   objective.old_logprobs                                batch, initial, current
///   objective.ref_logprobs                                batch, initial
///   objective.name                                        for titles
void fillTables(const Recipe &recipe, const EntryModule &module, schema::ProgramT &program);

} // namespace graft
