// write_sample accumulate|step FILE: writes the sample program of that way to train, for scripts that break it and as a
// fuzzer's first input.
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <cstdio>
#include <string_view>

int main(int argc, char **argv) {
  std::string_view kind = argc == 3 ? argv[1] : "";
  if (kind != "accumulate" && kind != "step") {
    std::fprintf(stderr, "usage: write_sample accumulate|step FILE\n");
    return 2;
  }
  graft::schema::ProgramT program = kind == "step" ? graft::test::stepProgram() : graft::test::sampleProgram();
  graft::Status status = graft::writeProgram(program, argv[2]);
  std::fputs(status.text().c_str(), stderr);
  return status.exitCode();
}
