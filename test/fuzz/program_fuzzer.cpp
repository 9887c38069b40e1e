// Gives the program loader FlatBuffers with a right preamble: what is behind the checksum must hold without it.
//   build/test/bin/write_sample step corpus/sample.graft; program_fuzzer -max_total_time=60 corpus
// Inputs are whole files; the preamble's size and checksum are made right before loading, so that every mutation
// reaches the verifier.
#include "runtime/program/Hash.h"
#include "runtime/program/Program.h"

#include <cstring>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  (void)graft::Program::fromBytes({data, size}).isOk();
  if (size < 64)
    return 0;
  std::vector<uint8_t> file(data, data + size);
  uint64_t rest = size - 64, checksum = graft::hash64(data + 64, rest);
  std::memcpy(file.data() + 16, &rest, sizeof rest);
  std::memcpy(file.data() + 24, &checksum, sizeof checksum);
  auto program = graft::Program::fromBytes(file);
  if (program.isOk())
    (void)program->findEntry("accumulate");
  return 0;
}
