// A folder of its own for each test, removed at the end, and two helpers to fill and read it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace graft::test {

class TemporaryDirectory {
public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "graft-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory &) = delete;

  std::string path(const std::string &name = "") const { return name.empty() ? path_ : path_ + "/" + name; }
  std::string write(const std::string &name, const std::string &contents) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << contents;
    return path(name);
  }
  std::string read(const std::string &name) const {
    std::ostringstream text;
    text << std::ifstream(path(name), std::ios::binary).rdbuf();
    return text.str();
  }
  /// Number of entries, hidden ones included.
  size_t entries(const std::string &name = "") const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(path(name)), std::filesystem::directory_iterator()));
  }

private:
  std::string path_;
};

} // namespace graft::test
