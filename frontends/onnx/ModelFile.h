// The door of this folder: from a path to a model that is sound.
#pragma once

#include <memory>
#include <string>

#include "frontends/onnx/Check.h"
#include "frontends/onnx/ExternalData.h"
#include "frontends/onnx/Model.h"

namespace graft::onnx {

struct ReadOptions {
  CheckOptions check;
  /// Whether the files of external data must be there and fit. Leave it off where a checkpoint gives the weights.
  bool externalData = true;
  /// See ExternalData: a directory around the model that links may point into.
  std::string linkRoot;
};

/// A model, the bytes it points into, and the files beside it. Neither copied nor moved: views point into it.
class ModelFile {
public:
  /// Reads, checks and inlines. All faults of the first step that has any, each with the file's name:
  /// Io and Limit (the file), Format (bytes), then those of checkModel(), inlineFunctions() and checkExternalData().
  /// A file above maxCopiedBytes is mapped: it must not be truncated while the ModelFile lives.
  static Result<std::unique_ptr<ModelFile>> read(const std::string &path, const ReadOptions &options = {});
  /// The same from memory, without external data; `name` stands for the path in faults.
  static Result<std::unique_ptr<ModelFile>> readBytes(std::string bytes, const std::string &name,
                                                      const ReadOptions &options = {});

  ModelFile(const ModelFile &) = delete;
  ModelFile &operator=(const ModelFile &) = delete;
  ~ModelFile();

  const Model &model() const { return model_; }
  const Graph &graph() const { return *model_.graph; }
  ExternalData &external() { return external_; }
  const std::string &path() const { return path_; }

private:
  ModelFile(std::string path, std::string directory, std::string linkRoot)
      : path_(std::move(path)), external_(std::move(directory), std::move(linkRoot)) {}
  Status load();
  Status interpret(const ReadOptions &options);

  std::string path_;
  std::string copied_;
  void *mapped_ = nullptr;
  size_t mappedBytes_ = 0;
  Model model_;
  ExternalData external_;
};

} // namespace graft::onnx
