#include "frontends/objective/Diagnostics.h"

#include <algorithm>
#include <numeric>

namespace graft::objective {

namespace {
constexpr size_t maxFaults = 50;
constexpr size_t excerptWidth = 100;

bool startsCharacter(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}
size_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), startsCharacter);
}

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}
} // namespace

Span join(Span first, Span last) {
  uint32_t end = std::max(first.begin + first.length, last.begin + last.length);
  return {first.file, first.begin, end - first.begin};
}

uint32_t Sources::add(std::string name, std::string text) {
  File file{std::move(name), std::move(text), {0}};
  for (size_t i = 0; i < file.text.size(); ++i)
    if (file.text[i] == '\n')
      file.lines.push_back(static_cast<uint32_t>(i + 1));
  files_.push_back(std::move(file));
  return static_cast<uint32_t>(files_.size() - 1);
}

Sources::Location Sources::locate(Span span) const {
  const std::vector<uint32_t> &lines = files_[span.file].lines;
  size_t line = std::upper_bound(lines.begin(), lines.end(), span.begin) - lines.begin();
  return {line, lines[line - 1]};
}

std::string Sources::place(Span span) const {
  Location at = locate(span);
  size_t column = 1 + characters(text(span.file).substr(at.begin, span.begin - at.begin));
  return escaped(name(span.file)) + ":" + std::to_string(at.line) + ":" + std::to_string(column);
}

std::string Sources::excerpt(Span span) const {
  Location at = locate(span);
  std::string_view line = text(span.file).substr(at.begin);
  line = line.substr(0, line.find_first_of("\r\n"));
  size_t column = std::min<size_t>(span.begin - at.begin, line.size());
  size_t from = column > excerptWidth / 2 ? column - excerptWidth / 2 : 0;
  while (from > 0 && !startsCharacter(line[from]))
    --from;
  std::string_view marked = line.substr(column, std::min<size_t>(span.length, excerptWidth / 2));
  std::string_view before = line.substr(from, column - from);
  std::string shown(line.substr(from, excerptWidth));
  std::replace(shown.begin(), shown.end(), '\t', ' ');
  std::string spaced(before);
  std::replace(spaced.begin(), spaced.end(), '\t', ' ');
  size_t under = characters(marked);
  return "    " + escaped(shown, 4 * excerptWidth) + "\n      " +
         std::string(characters(escaped(spaced, 4 * excerptWidth)), ' ') + "^" +
         std::string(under > 1 ? under - 1 : 0, '~');
}

void Diagnostics::error(Span span, std::string message, std::string hint, Code code) {
  if (!seen_.insert({span.file, span.begin}).second || status_.faults().size() > maxFaults)
    return;
  if (status_.faults().size() == maxFaults) {
    status_.merge(Status::error(Code::Usage, "further faults are not shown", sources_.place(span)));
    return;
  }
  std::string shown = sources_.excerpt(span);
  status_.merge(
      Status::error(code, std::move(message), sources_.place(span), shown + (hint.empty() ? "" : " " + hint)));
}

bool Diagnostics::full() const {
  return status_.faults().size() > maxFaults;
}

void Diagnostics::errorAt(std::string place, std::string message, std::string hint) {
  status_.merge(Status::error(Code::Usage, std::move(message), std::move(place), std::move(hint)));
}

void Diagnostics::warning(Span span, std::string message) {
  if (warnings_.size() < maxFaults)
    warnings_.push_back(sources_.place(span) + ": " + message);
}

std::string didYouMean(std::string_view name, const std::vector<std::string> &candidates) {
  const std::string *best = nullptr;
  size_t bestDistance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string &candidate : candidates) {
    if (name.size() > 64 || candidate.size() > 64)
      continue;
    size_t distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = &candidate;
      bestDistance = distance;
    }
  }
  return best ? "did you mean '" + escaped(*best) + "'?" : "";
}

std::string quotedList(const std::vector<std::string> &names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + ("'" + escaped(names[i]) + "'");
  return text;
}

} // namespace graft::objective
