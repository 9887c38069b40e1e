// `graft objective` from its arguments to files, exit codes and messages.
#include "runtime/io/Safetensors.h"
#include "tools/graft/Objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace graft {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class ObjectiveCommand : public testing::Test {
protected:
  ObjectiveCommand() { std::filesystem::create_directories(folder); }
  ~ObjectiveCommand() override { std::filesystem::remove_all(folder); }

  int run(std::vector<std::string> arguments) {
    CLI::App app;
    int code = 0;
    addObjectiveCommand(app, code);
    arguments.insert(arguments.begin(), "objective");
    std::reverse(arguments.begin(), arguments.end());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    app.parse(arguments);
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr();
    return code;
  }
  std::string path(const std::string &name) const { return (folder / name).string(); }
  void writeArrays(const std::string &name, const std::map<std::string, std::vector<float>> &arrays,
                   std::vector<int64_t> shape) {
    std::vector<TensorDeclaration> declarations;
    for (const auto &[array, _] : arrays)
      declarations.push_back({array, DType::F32, shape});
    auto writer = SafetensorsWriter::create(path(name), declarations);
    ASSERT_TRUE(writer.isOk());
    for (const TensorDeclaration &next : std::vector<TensorDeclaration>(writer->tensors()))
      ASSERT_TRUE(writer->append(std::span<const float>(arrays.at(next.name))).isOk());
    ASSERT_TRUE(writer->commit().isOk());
  }
  std::vector<double> read(const std::string &name, const std::string &array) {
    auto file = SafetensorsFile::open(path(name));
    EXPECT_TRUE(file.isOk());
    const TensorInfo *info = file->find(array);
    EXPECT_TRUE(info) << array;
    return info ? *file->readAll<double>(*info) : std::vector<double>();
  }

  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("graft_objective_command_" + std::to_string(::getpid()));
  std::string out, err;
};

TEST_F(ObjectiveCommand, List) {
  EXPECT_EQ(run({"list"}), 0);
  EXPECT_THAT(out, testing::AllOf(HasSubstr("\ngrpo "), HasSubstr("advantages/rloo "), HasSubstr("\nsft ")));
  EXPECT_EQ(run({"list", "--json"}), 0);
  EXPECT_EQ(json::parse(out).size(), 10u);
}

TEST_F(ObjectiveCommand, Show) {
  EXPECT_EQ(run({"show", "grpo", "--set", "kl=k3", "--set", "kl_coef=0.1"}), 0);
  EXPECT_THAT(out, testing::AllOf(HasSubstr("loss = aggregate("), HasSubstr("kl_coef = 0.1"), HasSubstr("ref_logprobs"),
                                  HasSubstr("source       TRL 1.16.0")));
  EXPECT_EQ(run({"show", "rloo", "--json"}), 0);
  EXPECT_EQ(json::parse(out)["role"], "advantages");
  EXPECT_EQ(run({"show", "gprpo"}), 2);
  EXPECT_THAT(err, HasSubstr("did you mean 'grpo'?"));
}

TEST_F(ObjectiveCommand, Check) {
  std::ofstream(path("good.objective")) << "objective good\ninput logprobs : token\nloss = token_mean(logprobs)\n";
  std::ofstream(path("bad.objective")) << "objective bad\ninput logprobs : token\nloss = token_mean(logprob)\n";
  EXPECT_EQ(run({"check", path("good.objective")}), 0);
  EXPECT_THAT(out, HasSubstr("good: sound"));
  EXPECT_EQ(run({"check", path("bad.objective")}), 2);
  EXPECT_THAT(err, HasSubstr("bad.objective:3:19: unknown name 'logprob'"));
  EXPECT_EQ(run({"check", path("absent.objective")}), 3);
  EXPECT_THAT(err, HasSubstr("absent.objective"));
}

TEST_F(ObjectiveCommand, Evaluate) {
  writeArrays("in.safetensors",
              {{"logprobs", {-1, -2, -3, -4}},
               {"old_logprobs", {-1, -2, -3, -4}},
               {"advantages", {1, 1, -1, -1}},
               {"loss_mask", {1, 1, 1, 0}}},
              {2, 2});
  EXPECT_EQ(run({"evaluate", "grpo", "--inputs", path("in.safetensors"), "--out", path("out.safetensors"), "--set",
                 "aggregation=token_sum"}),
            0)
      << err;
  EXPECT_THAT(read("out.safetensors", "loss"), testing::ElementsAre(-1));
  EXPECT_THAT(read("out.safetensors", "grad.logprobs"), testing::ElementsAre(-1, -1, 1, 0));
  EXPECT_THAT(read("out.safetensors", "metric.mean_ratio"), testing::ElementsAre(testing::DoubleEq(1)));
  EXPECT_EQ(run({"evaluate", "grpo", "--inputs", path("in.safetensors"), "--out", path("out.safetensors"), "--set",
                 "aggregation=sum", "--set", "x"}),
            2);
  EXPECT_THAT(err, HasSubstr("--set x: expected NAME=VALUE"));
  EXPECT_EQ(run({"evaluate", "rloo", "--inputs", path("in.safetensors"), "--out", path("out.safetensors")}), 3);
  EXPECT_THAT(err,
              testing::AllOf(HasSubstr("in.safetensors: array 'rewards': missing"), HasSubstr("'group_ids': missing")));
  EXPECT_EQ(run({"evaluate", "grpo", "--inputs", path("none.safetensors"), "--out", path("out.safetensors")}), 3);
}

} // namespace
} // namespace graft
