// Parameters updated in the backward pass: the same bits as gradients first and the optimizer then, and what a session
// says and refuses when such a step fails half-way.
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/exec/Optimizer.h"
#include "runtime/exec/Session.h"
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

namespace graft {
namespace {
using schema::DType;
using testing::HasSubstr;

std::unique_ptr<Session> open(schema::ProgramT sample, Session::Options options = {.threads = 2}) {
  auto program = Program::fromBytes(*serializeProgram(sample));
  EXPECT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, options);
  EXPECT_TRUE(session.isOk()) << session.status().text();
  EXPECT_TRUE((*session)
                  ->bindAll([](const ParameterInfo &info, std::span<float> values) {
                    for (size_t i = 0; i < values.size(); ++i)
                      values[i] = float(info.name.size()) * 0.1f + float(i % 7) * 0.25f - 0.5f;
                    return Status::ok();
                  })
                  .isOk());
  return std::move(*session);
}

struct Batch {
  std::vector<int64_t> ids = {0, 4, 2, 2, 1, 4};
  std::vector<float> target = std::vector<float>(24, 0.75f);
  float loss = 0;
  Inputs inputs() const {
    return {{"ids", {ids.data(), DType::I64, {6}}}, {"target", {target.data(), DType::F32, {6, 4}}}};
  }
  Outputs outputs() { return {{"loss", {&loss, DType::F32, {}}}}; }
  Result<ApplyReport> step(Session &session, int64_t number) {
    return session.step(inputs(), outputs(), {}, 0.05, number);
  }
};

/// What findNonFinite() says of the step; "nothing" if all is finite.
std::string found(Session &session, const Batch &batch) {
  auto where = session.findNonFinite("step", batch.inputs());
  EXPECT_TRUE(where.isOk()) << where.status().text();
  return where.isOk() ? where->value_or("nothing") : "";
}

std::vector<float> read(Session &session, Block block, const char *name, size_t count) {
  std::vector<float> values(count);
  Status status = session.read(block, name, values);
  EXPECT_TRUE(status.isOk()) << status.text();
  return values;
}

class StepForms : public testing::TestWithParam<DType> {};

TEST_P(StepForms, GivesTheBitsOfAccumulateAndApply) {
  auto withState = [](schema::ProgramT program) {
    program.optimizer->clip_grad_norm = 0;
    program.optimizer->state = GetParam();
    program.parameters[1]->state_offset = 320; // behind a block of bytes with its scale
    program.state_bytes = 640;
    return program;
  };
  auto apart = open(withState(test::sampleProgram(/*pitch=*/3))), fused = open(withState(test::stepProgram()));
  EXPECT_EQ(fused->memory().gradients, 0);
  Batch one, other;
  for (int64_t number = 1; number <= 5; ++number) {
    ASSERT_TRUE(apart->run("accumulate", one.inputs(), one.outputs()).isOk());
    auto applied = apart->apply(0.05, number);
    ASSERT_TRUE(applied.isOk()) << applied.status().text();
    auto stepped = other.step(*fused, number);
    ASSERT_TRUE(stepped.isOk()) << stepped.status().text();
    EXPECT_EQ(one.loss, other.loss);
    EXPECT_EQ(applied->gradientNorm, stepped->gradientNorm);
    EXPECT_EQ(stepped->clipFactor, 1);
    for (auto [name, count] : {std::pair("embed", 15), {"weight", 12}})
      for (Block block : {Block::Parameter, Block::Mean, Block::Square})
        EXPECT_EQ(read(*apart, block, name, size_t(count)), read(*fused, block, name, size_t(count))) << name;
  }
  EXPECT_FALSE(fused->isBetweenSteps());
}

INSTANTIATE_TEST_SUITE_P(Moments, StepForms, testing::Values(DType::F32, DType::BF16, DType::U8),
                         [](const auto &info) { return std::string(dtypeName(info.param)); });

TEST(Step, EachProgramHasOneWayToTrain) {
  Batch batch;
  auto fused = open(test::stepProgram()), apart = open(test::sampleProgram());
  EXPECT_THAT(fused->run("step", batch.inputs(), {}).text(), HasSubstr("Session::step() runs it"));
  EXPECT_THAT(fused->apply(0.1, 1).status().text(), HasSubstr("updated by step(), in the backward pass"));
  EXPECT_THAT(batch.step(*apart, 1).status().text(), HasSubstr("updated by apply()"));
  std::vector<float> gradient(12);
  EXPECT_THAT(fused->read(Block::Gradient, "weight", gradient).text(), HasSubstr("the gradient of 'weight' is gone"));
  EXPECT_EQ(batch.step(*fused, 0).status().exitCode(), 2);
  EXPECT_EQ(fused->step(batch.inputs(), {}, {}, -1, 1).status().exitCode(), 2);
  auto untrained = open(test::stepProgram(), {.threads = 1, .training = false});
  EXPECT_THAT(batch.step(*untrained, 1).status().text(), HasSubstr("without training"));
}

TEST(Step, TimeOfUpdatesIsTheOptimizers) {
  Batch batch;
  auto session = open(test::stepProgram(), {.threads = 1, .profiling = true});
  ASSERT_TRUE(batch.step(*session, 1).isOk());
  double optimizer = 0;
  for (const auto &[category, seconds] : session->secondsByCategory())
    optimizer += category == "optimizer" ? seconds : 0;
  EXPECT_GT(optimizer, 0);
}

// Tests that a loss that is not finite changes nothing: what made it can be looked for, and the session goes on.
TEST(Step, ALossThatIsNotFiniteUpdatesNothing) {
  Batch batch;
  auto session = open(test::stepProgram());
  auto before = read(*session, Block::Parameter, "weight", 12);
  batch.target[5] = std::numeric_limits<float>::quiet_NaN();
  auto failed = batch.step(*session, 1);
  EXPECT_THAT(failed.status().text(), HasSubstr("the loss is not finite"));
  EXPECT_EQ(failed.status().faults()[0].code, Code::Failed);
  EXPECT_FALSE(session->isBetweenSteps());
  EXPECT_EQ(read(*session, Block::Parameter, "weight", 12), before);
  EXPECT_THAT(found(*session, batch), HasSubstr("the batch has NaN in 'target'"));
  batch.target[5] = 0;
  EXPECT_EQ(found(*session, batch), "nothing");
  EXPECT_EQ(read(*session, Block::Parameter, "weight", 12), before);
  EXPECT_TRUE(batch.step(*session, 1).isOk());
}

/// Sets column `k` of a matrix of three columns.
void setColumn(Session &session, const char *name, size_t rows, size_t k, float value) {
  std::vector<float> values = read(session, Block::Parameter, name, rows * 3);
  for (size_t row = 0; row < rows; ++row)
    values[row * 3 + k] = value;
  ASSERT_TRUE(session.write(Block::Parameter, name, values).isOk());
}

// Tests that the first gradient that is not finite is named, and that nothing has happened yet.
TEST(Step, TheFirstGradientThatIsNotFiniteUpdatesNothing) {
  Batch batch;
  auto session = open(test::stepProgram());
  batch.target.assign(24, -1e15f); // whose square is finite
  setColumn(*session, "embed", 5, 0, 1e25f);
  setColumn(*session, "weight", 4, 0, 0);
  auto before = read(*session, Block::Parameter, "weight", 12);
  auto failed = batch.step(*session, 1);
  EXPECT_THAT(failed.status().text(), HasSubstr("the gradient of 'weight' is not finite"));
  EXPECT_FALSE(session->isBetweenSteps());
  EXPECT_EQ(read(*session, Block::Parameter, "weight", 12), before);
  EXPECT_THAT(found(*session, batch), HasSubstr("makes infinity in 'grad.weight'"));
}

// Tests that a step that failed half-way is the last thing that its session does, and that it says how far it came.
TEST(Step, AGradientThatIsNotFiniteLeavesTheSessionBetweenSteps) {
  Batch batch;
  auto session = open(test::stepProgram());
  ASSERT_TRUE(batch.step(*session, 1).isOk());
  batch.target.assign(24, 1e15f);
  setColumn(*session, "weight", 4, 1, 1e25f);
  setColumn(*session, "embed", 5, 1, 0);
  auto failed = batch.step(*session, 2);
  EXPECT_THAT(failed.status().text(), HasSubstr("the gradient of 'embed' is not finite"));
  const char *between = "weights and moments are between steps 1 and 2: 1 of 2 parameters were updated";
  EXPECT_THAT(failed.status().text(), HasSubstr(between));
  EXPECT_THAT(failed.status().text(), HasSubstr("go on from a checkpoint"));
  EXPECT_TRUE(session->isBetweenSteps());
  std::vector<float> values(12);
  EXPECT_THAT(session->read(Block::Parameter, "weight", values).text(), HasSubstr(between));
  EXPECT_THAT(session->read(Block::Mean, "weight", values).text(), HasSubstr(between));
  EXPECT_THAT(session->run("predict", {{"ids", {batch.ids.data(), DType::I64, {6}}}}, {}).text(), HasSubstr(between));
  EXPECT_THAT(batch.step(*session, 2).status().text(), HasSubstr(between));
  EXPECT_THAT(session->findNonFinite("step", batch.inputs()).status().text(), HasSubstr(between));
}

// Tests that of a large parameter, whose blocks are updated one by one, those are left that have no finite gradient.
TEST(Step, NoValueThatIsNotFiniteReachesAParameter) {
  constexpr int64_t block = kernels::squaredNormBlock, count = 3 * block + 7;
  schema::ProgramT program;
  program.target = "cpu";
  program.optimizer = std::make_unique<schema::OptimizerT>();
  program.optimizer->name = "adamw";
  program.optimizer->in_backward = true;
  program.parameters.push_back(std::make_unique<schema::ParameterT>());
  schema::ParameterT &large = *program.parameters[0];
  large.name = "large";
  large.shape = {count};
  large.row_pitch = count;
  large.trained = true;
  large.state_offset = 0;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Program::Pack(builder, &program));
  std::vector<float> weights(count, 1), gradient(count, 0.5f), means(count), squares(count);
  gradient[block + 3] = std::numeric_limits<float>::quiet_NaN();
  gradient[3 * block + 6] = std::numeric_limits<float>::infinity();
  auto bytes = [](std::vector<float> &values) { return reinterpret_cast<uint8_t *>(values.data()); };
  Optimizer optimizer(*flatbuffers::GetRoot<schema::Program>(builder.GetBufferPointer()),
                      {bytes(weights), nullptr, bytes(means), bytes(squares), nullptr});
  WorkerPool pool(2);
  Status status;
  optimizer.begin(0.25, 1);
  pool.drive([&] { status = optimizer.update(pool, 0, gradient.data()); });
  EXPECT_THAT(status.text(), HasSubstr("the gradient of 'large' is not finite"));
  EXPECT_EQ(optimizer.updated(), 1);
  for (int64_t i = 0; i < count; ++i) {
    bool left = i / block == 1 || i / block == 3;
    ASSERT_EQ(weights[size_t(i)], left ? 1 : weights[0]) << i;
    ASSERT_EQ(means[size_t(i)], left ? 0 : means[0]) << i;
  }
  EXPECT_LT(weights[0], 1);
}

} // namespace
} // namespace graft
