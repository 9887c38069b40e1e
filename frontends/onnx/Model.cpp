#include "frontends/onnx/Model.h"

#include "runtime/base/Status.h"

namespace graft::onnx {

namespace {
std::string_view propertyOf(const std::vector<Property> &properties, std::string_view key) {
  for (const Property &property : properties)
    if (property.key == key)
      return property.value;
  return {};
}

/// The last but one quoted string of a Python list of strings: "['', 'model', 'model.norm', 'mul_1']" -> "model.norm".
std::string_view lastButOneQuoted(std::string_view list) {
  std::string_view last, before;
  while (true) {
    size_t open = list.find_first_of("'\"");
    if (open == std::string_view::npos)
      return before;
    size_t close = list.find(list[open], open + 1);
    if (close == std::string_view::npos)
      return before;
    before = last;
    last = list.substr(open + 1, close - open - 1);
    list.remove_prefix(close + 1);
  }
}

/// ": Root/model: Model/model.norm: Norm/mul_1: aten.mul" -> "model.norm".
std::string_view lastButOneScope(std::string_view scopes) {
  size_t last = scopes.rfind('/');
  if (last == std::string_view::npos)
    return {};
  scopes = scopes.substr(0, last);
  size_t before = scopes.rfind('/');
  std::string_view scope = before == std::string_view::npos ? scopes : scopes.substr(before + 1);
  return scope.substr(0, scope.find(':'));
}
} // namespace

const Attribute *Node::attribute(std::string_view wanted) const {
  for (const Attribute &attribute : attributes)
    if (attribute.name == wanted)
      return &attribute;
  return nullptr;
}

int64_t opsetOf(const std::vector<OpsetImport> &imports, std::string_view domain) {
  for (const OpsetImport &import : imports)
    if (import.domain == domain)
      return import.version;
  return 0;
}

std::string modulePath(const Node &node) {
  if (std::string_view scopes = propertyOf(node.metadata, "pkg.torch.onnx.name_scopes"); !scopes.empty())
    return std::string(lastButOneQuoted(scopes));
  if (std::string_view scopes = propertyOf(node.metadata, "namespace"); !scopes.empty())
    return std::string(lastButOneScope(scopes));
  size_t last = node.name.rfind('/');
  if (node.name.empty() || node.name.front() != '/' || last == 0)
    return "";
  std::string path(node.name.substr(1, last - 1));
  for (char &c : path)
    if (c == '/')
      c = '.';
  return path;
}

std::string describe(const Node &node) {
  std::string text = "node '" + escaped(node.name) + "' (";
  if (!node.domain.empty())
    text += escaped(node.domain, 60) + "::";
  text += escaped(node.op, 60);
  if (std::string path = modulePath(node); !path.empty())
    text += ", in " + escaped(path);
  return text + ")";
}

} // namespace graft::onnx
