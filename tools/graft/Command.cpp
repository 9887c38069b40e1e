#include "tools/graft/Command.h"

#include <cstdlib>
#include <iostream>
#include <unistd.h>

namespace graft::cli {

void Shell::print(const std::string &text) const {
  if (!json)
    std::cout << text << (text.ends_with('\n') ? "" : "\n");
}

void Shell::print(const Json &value) const {
  if (json)
    std::cout << value.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

void Shell::say(const std::string &line) const {
  if (!quiet)
    std::cerr << line << std::endl;
}

void Shell::detail(const std::string &line) const {
  if (verbose)
    std::cerr << line << std::endl;
}

int Shell::fail(const Status &status) const {
  const char *noColor = std::getenv("NO_COLOR");
  bool colour = isatty(2) && !(noColor && *noColor);
  std::string text = status.text();
  if (colour)
    for (size_t at = 0; (at = text.find("error[", at)) != std::string::npos; at += 16)
      if (at == 0 || text[at - 1] == '\n')
        text.replace(at, 5, "\033[31merror\033[0m");
  std::cerr << text << (text.ends_with('\n') ? "" : "\n");
  if (json) {
    Json errors = Json::array();
    for (const Fault &fault : status.faults())
      errors.push_back(
          {{"code", name(fault.code)}, {"place", fault.place}, {"message", fault.message}, {"hint", fault.hint}});
    print(Json{{"errors", errors}});
  }
  return status.exitCode();
}

void Shell::addFlags(CLI::App &command) {
  command.add_flag("--json", json, "Results as JSON on stdout");
  command.add_flag("-q,--quiet", quiet, "No progress and no notes");
  command.add_flag("-v,--verbose", verbose, "Say more about what is done");
}

std::string tableText(const std::vector<std::vector<std::string>> &rows) {
  std::vector<size_t> widths;
  for (const auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      widths.resize(std::max(widths.size(), row.size()));
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto &row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      line += row[i] + (i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "");
    text += line + "\n";
  }
  return text;
}

} // namespace graft::cli
