// A recipe from a file: only a regular one, and never more than the limit, so that a device or a pipe can neither block
// nor flood.
#include "frontends/recipe/Recipe.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {

namespace {
constexpr size_t mostBytes = (1 << 20) + 1; // one more than parseRecipe accepts, so that it reports the rest

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0)
      ::close(value);
  }
};

Status cannotRead(const std::string &path, const std::string &why) {
  return Status::error(Code::Usage, "cannot read the recipe: " + why, escaped(path, 400),
                       "give the path of a recipe: a TOML file");
}
} // namespace

Result<Recipe> loadRecipe(const std::string &path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat info;
  if (file.value < 0 || ::fstat(file.value, &info) != 0)
    return cannotRead(path, std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return cannotRead(path, S_ISDIR(info.st_mode) ? "it is a folder" : "it is not a regular file");
  std::string text(mostBytes, '\0');
  size_t size = 0;
  while (size < mostBytes) {
    ssize_t count = ::read(file.value, text.data() + size, mostBytes - size);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return cannotRead(path, std::strerror(errno));
    if (count == 0)
      break;
    size += static_cast<size_t>(count);
  }
  if (size == mostBytes)
    return Status::error(Code::Usage, "the recipe has more than 1 MiB", escaped(path, 400),
                         "give the path of a recipe: a TOML file of a few hundred bytes");
  return parseRecipe(std::string_view(text).substr(0, size), path);
}

} // namespace graft
