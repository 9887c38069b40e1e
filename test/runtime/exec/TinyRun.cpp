#include "test/runtime/exec/TinyRun.h"

#include "frontends/weights/Checkpoint.h"
#include "passes/Compiler.h"
#include "runtime/program/ProgramFile.h"

#include <array>
#include <gtest/gtest.h>

namespace graft::test {

namespace {
const std::string model = std::string(GRAFT_SOURCE_DIR) + "/test/data/models/llama";
} // namespace

Program tinyProgram(const std::string &objective, const std::string &optimizer, const std::string &precision) {
  static std::map<std::array<std::string, 3>, Program> programs;
  if (auto found = programs.find({objective, optimizer, precision}); found != programs.end())
    return found->second;
  std::string text = "[model]\ngraph = \"" + model + "/model.onnx\"\nweights = \"" + model +
                     "/weights.safetensors\"\n[objective]\n" + objective +
                     "\n[batch]\nsequences = " + std::to_string(tinySequences) +
                     "\ntokens = " + std::to_string(tinyTokens) + "\n[precision]\n" + precision + "\n[optimizer]\n" +
                     optimizer + "\n[optimizer.schedule]\nkind = \"cosine\"\nwarmup_steps = 1\n";
  auto recipe = parseRecipe(text, "recipe.toml");
  EXPECT_TRUE(recipe.isOk()) << recipe.status().text();
  Compiler compiler;
  auto compiled = compiler.compile(*recipe);
  EXPECT_TRUE(compiled.isOk()) << compiled.status().text();
  auto bytes = serializeProgram(compiled->program);
  EXPECT_TRUE(bytes.isOk()) << bytes.status().text();
  auto program = Program::fromBytes(*bytes);
  EXPECT_TRUE(program.isOk()) << program.status().text();
  return programs.emplace(std::array{objective, optimizer, precision}, *program).first->second;
}

std::string tinyRollouts(const std::vector<TinyRollout> &rollouts) {
  std::string text;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    auto ids = [&](size_t count, size_t seed) {
      std::string list;
      for (size_t k = 0; k < count; ++k)
        list += (k ? ", " : "") + std::to_string((seed * 37 + k * 101 + 11) % 256);
      return "[" + list + "]";
    };
    text += "{\"prompt_ids\": " + ids(2 + i % 4, i / 4) + ", \"completion_ids\": " + ids(3 + i % 5, 50 + i);
    if (!rollouts[i].bare)
      text += ", \"group_id\": " + std::to_string(rollouts[i].group) +
              ", \"reward\": " + std::to_string(rollouts[i].reward);
    text += rollouts[i].more + "}\n";
  }
  return text;
}

std::string twelveRollouts() {
  std::vector<TinyRollout> rollouts;
  for (int64_t i = 0; i < 12; ++i)
    rollouts.push_back({i / 4, static_cast<double>(i * 5 % 4) / 4});
  return tinyRollouts(rollouts);
}

Status bindTiny(Session &session, const std::string &folder) {
  GRAFT_ASSIGN_OR_RETURN(Checkpoint checkpoint,
                         Checkpoint::open(folder.empty() ? model + "/weights.safetensors" : folder));
  return session.bindAll(
      [&](const ParameterInfo &parameter, std::span<float> values) { return checkpoint.read(parameter.name, values); });
}

Status saveTiny(Session &session, const std::string &folder) {
  GRAFT_ASSIGN_OR_RETURN(Checkpoint source, Checkpoint::open(model + "/weights.safetensors"));
  std::vector<float> values;
  return saveCheckpoint(source, folder, [&](const std::string &name) -> std::optional<std::span<const float>> {
    for (const ParameterInfo &parameter : session.parameters())
      if (parameter.name == name) {
        values.resize(static_cast<size_t>(parameter.elements));
        EXPECT_TRUE(session.read(Block::Parameter, name, values).isOk());
        return values;
      }
    return std::nullopt;
  });
}

Result<TrainResult> TinyRun::run(const std::string &objective) {
  GRAFT_ASSIGN_OR_RETURN(
      RunDirectory run, RunDirectory::open(directory, resume ? RunDirectory::Mode::Resume : RunDirectory::Mode::Fresh));
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Session> session,
                         Session::open(tinyProgram(objective, optimizer, precision), {.threads = 1}));
  int64_t asked = 0;
  TrainOptions options;
  options.rollouts = {rollouts};
  options.steps = steps;
  options.saveEvery = saveEvery;
  options.title = "tiny";
  options.bind = bind;
  options.save = saveTiny;
  options.exactWeights = exactWeights;
  options.progress = [&](const std::string &line) {
    lines.push_back(line);
    asked += line.starts_with("step ");
  };
  options.interrupted = [&] { return stopAfter > 0 && asked >= stopAfter; };
  return train(*session, run, options);
}

std::vector<std::map<std::string, double>> metricsOf(const std::string &directory) {
  auto rows = readMetrics(directory + "/metrics.jsonl");
  EXPECT_TRUE(rows.isOk()) << rows.status().text();
  std::vector<std::map<std::string, double>> result;
  for (const MetricsRow &row : *rows) {
    result.emplace_back(row.begin(), row.end());
    result.back().erase("seconds");
    result.back().erase("tokens_per_second");
  }
  return result;
}

std::string checkpointBytes(const std::string &directory, int64_t step, const std::string &file) {
  std::ostringstream text;
  text << std::ifstream(directory + "/checkpoints/step-" + std::to_string(step) + "/" + file, std::ios::binary).rdbuf();
  EXPECT_FALSE(text.str().empty()) << file << " of step " << step;
  return text.str();
}

} // namespace graft::test
