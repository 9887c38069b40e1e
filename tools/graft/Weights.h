// The values of a program's parameters: from a checkpoint, or from the graph's own initializers.
#pragma once

#include "frontends/onnx/ModelFile.h"
#include "frontends/recipe/Recipe.h"
#include "frontends/weights/Checkpoint.h"
#include "runtime/exec/Session.h"

namespace graft::cli {

class Weights {
public:
  /// The checkpoint at `path`; if that is empty, the recipe's weights; if it has none, the graph's initializers.
  static Result<Weights> open(const Recipe &recipe, const std::string &path);

  /// Values of the parameter known by any of these names. Graph fault if there is none, Type if its shape differs.
  Status read(std::span<const std::string> names, const std::vector<int64_t> &shape, std::span<float> values);
  /// Fills every parameter of a session.
  Status bind(Session &session);
  /// Writes the session's weights into `folder`, which exists, in Hugging Face layout, with the files beside the
  /// source.
  Status save(const Session &session, const std::string &folder) const;
  /// True if save() loses nothing.
  bool savesExactly() const;
  /// As messages name it.
  const std::string &path() const { return path_; }

private:
  std::string path_;
  std::optional<Checkpoint> checkpoint_;
  std::unique_ptr<onnx::ModelFile> graph_; ///< without a checkpoint
};

/// The recipe that a program was compiled from; its paths are absolute.
Result<Recipe> recipeOf(const Program &program, const std::string &path);

} // namespace graft::cli
