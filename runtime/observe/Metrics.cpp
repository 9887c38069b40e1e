#include "runtime/observe/Metrics.h"

#include "runtime/base/AtomicFile.h"
#include "runtime/base/File.h"
#include "runtime/base/Json.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <unistd.h>

namespace graft {

namespace {
constexpr uint64_t maxMetricsBytes = 1u << 30;

Status diskFault(const std::string &path, const std::string &what) {
  return Status::error(Code::Failed, what + ": " + std::strerror(errno), escaped(path, 400));
}

std::string jsonText(const std::variant<int64_t, double, std::string, bool, Counts> &value) {
  if (const int64_t *integer = std::get_if<int64_t>(&value))
    return std::to_string(*integer);
  if (const double *real = std::get_if<double>(&value))
    return jsonNumber(*real);
  if (const bool *flag = std::get_if<bool>(&value))
    return *flag ? "true" : "false";
  if (const std::string *text = std::get_if<std::string>(&value))
    return jsonString(*text);
  std::string object;
  for (const auto &[name, count] : std::get<Counts>(value))
    object += (object.empty() ? "" : ", ") + jsonString(name) + ": " + std::to_string(count);
  return "{" + object + "}";
}

/// One line's numbers; the place of a fault is the column.
Result<MetricsRow> parseRow(std::string_view line) {
  MetricsRow row;
  JsonReader json(line);
  std::string key;
  std::string_view spelling;
  if (json.enterObject())
    while (json.nextKey(key)) {
      JsonKind kind = json.peek();
      if (kind == JsonKind::Number && json.readNumber(spelling))
        row.emplace_back(key, parseReal(spelling).value_or(std::nan("")));
      else if (kind == JsonKind::Null && json.readNull())
        row.emplace_back(key, std::nan(""));
      else
        json.skip();
    }
  if (!json.finish())
    return Status::error(Code::Format, json.error().message, "column " + std::to_string(json.error().offset + 1));
  return row;
}

/// Calls `use(line, row)` for each complete line, `line` with its line feed.
Status forEachRow(const std::string &path, const std::function<void(std::string_view, MetricsRow)> &use) {
  GRAFT_ASSIGN_OR_RETURN(std::string text, readText(path, maxMetricsBytes));
  size_t number = 0;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string_view line = std::string_view(text).substr(begin, end - begin + 1);
    Result<MetricsRow> row = parseRow(line);
    ++number;
    if (!row.isOk())
      return row.takeStatus().at(escaped(path, 400) + ":" + std::to_string(number));
    use(line, std::move(*row));
  }
  return Status::ok();
}
} // namespace

Result<JsonLinesWriter> JsonLinesWriter::open(const std::string &path) {
  JsonLinesWriter writer;
  writer.path_ = path;
  writer.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  if (writer.descriptor_ < 0)
    return errno == ELOOP
               ? Status::error(Code::Path, "is a symbolic link, which is never written through", escaped(path, 400))
               : diskFault(path, "cannot be opened");
  return writer;
}

JsonLinesWriter::JsonLinesWriter(JsonLinesWriter &&other) noexcept {
  *this = std::move(other);
}

JsonLinesWriter &JsonLinesWriter::operator=(JsonLinesWriter &&other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

JsonLinesWriter::~JsonLinesWriter() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
}

Status JsonLinesWriter::write(std::span<const Field> fields) {
  std::string line = "{";
  for (const Field &field : fields)
    line += (line.size() > 1 ? ", " : "") + jsonString(field.name) + ": " + jsonText(field.value);
  line += "}\n";
  for (std::string_view rest = line; !rest.empty();) {
    ssize_t done = ::write(descriptor_, rest.data(), rest.size());
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return diskFault(path_, "cannot be written");
    rest.remove_prefix(static_cast<size_t>(done));
  }
  return Status::ok();
}

Result<std::vector<MetricsRow>> readMetrics(const std::string &path) {
  std::vector<MetricsRow> rows;
  GRAFT_RETURN_IF_ERROR(forEachRow(path, [&](std::string_view, MetricsRow row) { rows.push_back(std::move(row)); }));
  return rows;
}

Status truncateMetrics(const std::string &path, int64_t step) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return Status::ok();
  std::string kept;
  GRAFT_RETURN_IF_ERROR(forEachRow(path, [&](std::string_view line, MetricsRow row) {
    auto found = std::ranges::find(row, "step", &std::pair<std::string, double>::first);
    if (found != row.end() && found->second <= static_cast<double>(step))
      kept += line;
  }));
  return writeFileAtomically(path, kept);
}

} // namespace graft
