// write_sample FILE: writes the sample program, for scripts that break it and as a fuzzer's first input.
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_sample FILE\n");
    return 2;
  }
  graft::schema::ProgramT program = graft::test::sampleProgram();
  graft::Status status = graft::writeProgram(program, argv[1]);
  std::fputs(status.text().c_str(), stderr);
  return status.exitCode();
}
