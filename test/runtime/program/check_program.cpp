// check_program FILE...: opens each and prints "FILE<tab>exit code<tab>first fault". Exits 0: the verdicts are the
// output.
#include "runtime/program/Program.h"

#include <cstdio>

int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i) {
    auto program = graft::Program::open(argv[i]);
    std::string text = program.isOk() ? "ok" : program.status().text();
    std::printf("%s\t%d\t%s\n", argv[i], program.isOk() ? 0 : program.status().exitCode(),
                text.substr(0, text.find('\n')).c_str());
  }
}
