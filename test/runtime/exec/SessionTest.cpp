#include "runtime/exec/Session.h"

#include "kernels/attention/attention.h"
#include "runtime/base/Convert.h"
#include "runtime/exec/HostCalls.h"
#include "runtime/program/HostFunctions.h"
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <cmath>
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

namespace graft {
namespace {
using schema::DType;
using testing::HasSubstr;

std::unique_ptr<Session> openSample(Session::Options options = {.threads = 2},
                                    const std::function<void(schema::ProgramT &)> &change = {}) {
  schema::ProgramT sample = test::sampleProgram();
  if (change)
    change(sample);
  auto program = Program::fromBytes(*serializeProgram(sample));
  EXPECT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, options);
  EXPECT_TRUE(session.isOk()) << session.status().text();
  return std::move(*session);
}

/// Numbers that differ by parameter and position.
Status sampleWeights(const ParameterInfo &info, std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float(info.name.size()) * 0.1f + float(i % 7) * 0.25f - 0.5f;
  return Status::ok();
}

/// The sample's arithmetic, as loops.
struct Expected {
  std::vector<float> embed = std::vector<float>(15), weight = std::vector<float>(12);
  std::vector<float> y = std::vector<float>(24), dEmbed = std::vector<float>(15), dWeight = std::vector<float>(12);
  float loss = 0;

  Expected(const std::vector<int64_t> &ids, const std::vector<float> &target, float bias) {
    (void)sampleWeights({"embed", {}, {}, 15, true}, embed);
    (void)sampleWeights({"weight", {}, {}, 12, true}, weight);
    loss = bias;
    for (size_t i = 0; i < 6; ++i)
      for (size_t j = 0; j < 4; ++j) {
        auto id = static_cast<size_t>(ids[i]);
        for (size_t k = 0; k < 3; ++k)
          y[i * 4 + j] += embed[id * 3 + k] * weight[j * 3 + k];
        float d = y[i * 4 + j] - target[i * 4 + j];
        loss += d * d / 2;
        for (size_t k = 0; k < 3; ++k) {
          dWeight[j * 3 + k] += d * embed[id * 3 + k];
          dEmbed[id * 3 + k] += d * weight[j * 3 + k];
        }
      }
  }
};

struct Batch {
  std::vector<int64_t> ids = {0, 4, 2, 2, 1, 4};
  std::vector<float> target = std::vector<float>(24, 0.75f);
  std::vector<float> bias = {2};
  Inputs inputs() const {
    return {{"ids", {ids.data(), DType::I64, {6}}},
            {"target", {target.data(), DType::F32, {6, 4}}},
            {"bias", {bias.data(), DType::F32, {1}}}};
  }
};

void expectNear(const std::vector<float> &got, const std::vector<float> &want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 1e-5) << i;
}

std::vector<float> readAll(Session &session, Block block, const char *name, size_t count) {
  std::vector<float> values(count);
  Status status = session.read(block, name, values);
  EXPECT_TRUE(status.isOk()) << status.text();
  return values;
}

TEST(Session, RunsAnEntryAndConvertsItsInputs) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  Expected expected(batch.ids, batch.target, 0);
  std::vector<float> y(24), yt(24), sevens(5);
  Status status = session->run("predict", {{"ids", {batch.ids.data(), DType::I64, {6}}}},
                               {{"y", {y.data(), DType::F32, {6, 4}}},
                                {"y_transposed", {yt.data(), DType::F32, {4, 6}}},
                                {"sevens", {sevens.data(), DType::F32, {5}}}});
  ASSERT_TRUE(status.isOk()) << status.text();
  expectNear(y, expected.y);
  for (size_t i = 0; i < 6; ++i)
    for (size_t j = 0; j < 4; ++j)
      EXPECT_EQ(yt[j * 6 + i], y[i * 4 + j]);
  EXPECT_EQ(sevens, std::vector<float>(5, 7));
}

TEST(Session, LeavesOutPlacesThatHoldNoTokens) {
  Batch batch;
  Expected expected(batch.ids, batch.target, 0);
  for (schema::Phase phase : {schema::Phase::Forward, schema::Phase::Backward}) {
    auto session = openSample({.threads = 2}, [&](schema::ProgramT &p) {
      p.entries[0]->parts = 3; // y [6, 4] in thirds
      p.entries[0]->instructions[1]->chunk_size = schema::ChunkSize::M;
      p.entries[0]->instructions[1]->phase = phase;
    });
    ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
    for (int64_t places : {0, 1, 2, 3, 6}) { // of 6; in whole thirds, at least one
      std::vector<float> y(24);
      Outputs outputs = {{"y", {y.data(), DType::F32, {6, 4}}}};
      Status status = session->run("predict", {{"ids", {batch.ids.data(), DType::I64, {6}}}}, outputs, {places, 6});
      ASSERT_TRUE(status.isOk()) << status.text();
      size_t used = places <= 2 ? 2 : places <= 4 ? 4 : 6;
      for (size_t i = 0; i < 6; ++i)
        for (size_t j = 0; j < 4; ++j)
          EXPECT_NEAR(y[i * 4 + j],
                      i < used                           ? expected.y[i * 4 + j]
                      : phase == schema::Phase::Backward ? 0
                                                         : expected.y[j],
                      1e-5)
              << places << " places: " << i << ", " << j;
    }
  }
}

TEST(Session, SumsOverThePlacesInUse) {
  auto session = openSample({.threads = 2}, [](schema::ProgramT &p) {
    p.entries[1]->parts = 2; // the gradient of `weight` sums over six rows
    p.entries[1]->instructions[4]->chunk_size = schema::ChunkSize::K;
  });
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  for (int64_t places : {3, 6}) {
    ASSERT_TRUE(session->run("accumulate", batch.inputs(), {}, {places, 6}).isOk());
    Batch firstRows = batch; // rows whose target is what was predicted add nothing
    Expected all(batch.ids, batch.target, 0);
    for (size_t k = static_cast<size_t>(places) * 4; k < 24; ++k)
      firstRows.target[k] = all.y[k];
    std::vector<float> gradient(12);
    ASSERT_TRUE(session->read(Block::Gradient, "weight", gradient).isOk());
    expectNear(gradient, Expected(firstRows.ids, firstRows.target, 0).dWeight);
  }
}

TEST(Session, FindsWhatIsNotFinite) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  auto found = [&] {
    auto where = session->findNonFinite("accumulate", batch.inputs());
    EXPECT_TRUE(where.isOk());
    return where.isOk() ? where->value_or("nothing") : "";
  };
  EXPECT_EQ(found(), "nothing");
  batch.target[5] =
      -std::numeric_limits<float>::infinity(); // the logarithm of nothing: not looked for, what it makes is
  EXPECT_THAT(found(), HasSubstr("makes infinity in 'd' at [1, 1]"));
  batch.target[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(found(), HasSubstr("the batch has NaN in 'target' at [1, 1]"));
  batch.target[5] = 0;
  std::vector<float> weight(12, 1e20f);
  ASSERT_TRUE(session->write(Block::Parameter, "weight", weight).isOk());
  EXPECT_THAT(found(), HasSubstr("(loss, kernel) makes infinity in 'loss'")); // squares of 1e20
  weight[7] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(session->write(Block::Parameter, "weight", weight).isOk());
  EXPECT_EQ(found(), "weights 'weight' are not finite in row 2, column 1");
}

TEST(Session, OverwritesGradientsFirstAndAddsThen) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  Expected expected(batch.ids, batch.target, 2);
  float loss = 0;
  Outputs outputs = {{"loss", {&loss, DType::F32, {}}}};
  for (int round = 0; round < 2; ++round) { // the second overwrites what the first left
    ASSERT_TRUE(session->run("accumulate", batch.inputs(), outputs).isOk());
    EXPECT_NEAR(loss, expected.loss, 1e-4);
    expectNear(readAll(*session, Block::Gradient, "weight", 12), expected.dWeight);
    expectNear(readAll(*session, Block::Gradient, "embed", 15), expected.dEmbed);
  }
  ASSERT_TRUE(session->run("accumulate_more", batch.inputs(), outputs).isOk());
  for (float &value : expected.dWeight)
    value *= 2;
  expectNear(readAll(*session, Block::Gradient, "tied", 12), expected.dWeight);
}

TEST(Session, AbsentOptionalInputsAreZero) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  Inputs inputs = batch.inputs();
  float with = 0, without = 0;
  ASSERT_TRUE(session->run("accumulate", inputs, {{"loss", {&with, DType::F32, {}}}}).isOk());
  inputs.erase("bias");
  ASSERT_TRUE(session->run("accumulate", inputs, {{"loss", {&without, DType::F32, {}}}}).isOk());
  EXPECT_NEAR(with - without, 2, 1e-5);
}

// Tests a step against AdamW's formulas and the clip of PyTorch, and that padding and frozen weights do not move.
TEST(Session, AppliesAdamWWithClipping) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  Expected expected(batch.ids, batch.target, 2);
  ASSERT_TRUE(session->run("accumulate", batch.inputs(), {}).isOk());
  auto report = session->apply(0.01, 1);
  ASSERT_TRUE(report.isOk()) << report.status().text();
  double squares = 0;
  for (const auto *gradient : {&expected.dEmbed, &expected.dWeight})
    for (float value : *gradient)
      squares += double(value) * value;
  EXPECT_NEAR(report->gradientNorm, std::sqrt(squares), 1e-4);
  EXPECT_NEAR(report->clipFactor, 1 / (std::sqrt(squares) + 1e-6), 1e-6);
  auto weight = readAll(*session, Block::Parameter, "weight", 12), mean = readAll(*session, Block::Mean, "weight", 12);
  for (size_t i = 0; i < 12; ++i) {
    double g = expected.dWeight[i] * report->clipFactor;
    EXPECT_NEAR(mean[i], 0.1 * g, 1e-6);
    EXPECT_NEAR(weight[i], expected.weight[i] * (1 - 0.01 * 0.1) - 0.01 * g / (std::abs(g) + 1e-8), 1e-5);
  }
  std::vector<float> frozen(2);
  (void)sampleWeights({"frozen", {}, {}, 2, false}, frozen);
  EXPECT_EQ(readAll(*session, Block::Parameter, "frozen", 2), frozen);
}

/// w f^T of weights [4, 3] and [2, 3] rounded to bfloat16.
std::vector<float> productOfRounded(std::span<const float> weight, std::span<const float> frozen) {
  std::vector<float> product(8);
  auto rounded = [](float value) { return bfloatToFloat(floatToBfloat(value)); };
  for (size_t i = 0; i < 8; ++i)
    for (size_t k = 0; k < 3; ++k)
      product[i] += rounded(weight[i / 2 * 3 + k]) * rounded(frozen[i % 2 * 3 + k]);
  return product;
}

// Tests that working copies are the weights, rounded: when bound, when written, when the optimizer has moved them.
TEST(Session, WorkingCopiesFollowTheirParameters) {
  schema::ProgramT sample = test::workingCopyProgram();
  auto program = Program::fromBytes(*serializeProgram(sample));
  ASSERT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, {.threads = 2});
  ASSERT_TRUE(session.isOk()) << session.status().text();
  Session &s = **session;
  EXPECT_EQ(s.memory().working, 192);
  auto thirds = [](const ParameterInfo &, std::span<float> values) {
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = float(i + 1) / 3;
    return Status::ok();
  };
  auto expectProduct = [&](const char *when) {
    SCOPED_TRACE(when);
    std::vector<float> product(8);
    ASSERT_TRUE(s.run("accumulate", {}, {{"product", {product.data(), DType::F32, {4, 2}}}}).isOk());
    std::vector<float> expected =
        productOfRounded(readAll(s, Block::Parameter, "weight", 12), readAll(s, Block::Parameter, "frozen", 6));
    for (size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(product[i], expected[i], 1e-5);
  };
  ASSERT_TRUE(s.bindAll(thirds).isOk());
  expectProduct("bound");
  std::vector<float> other(6, 0.3f);
  ASSERT_TRUE(s.write(Block::Parameter, "frozen", other).isOk());
  expectProduct("written");
  std::vector<float> gradient(12, 0.7f);
  ASSERT_TRUE(s.write(Block::Gradient, "weight", gradient).isOk());
  ASSERT_TRUE(s.apply(0.1, 1).isOk());
  expectProduct("moved");
}

// Tests that one and two threads give the same bits over several steps.
TEST(Session, OneAndTwoThreadsGiveTheSameBits) {
  std::vector<std::vector<float>> weights, losses;
  for (int threads : {1, 2, 2}) {
    auto session = openSample({.threads = threads});
    ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
    Batch batch;
    losses.emplace_back();
    for (int step = 1; step <= 5; ++step) {
      float loss = 0;
      ASSERT_TRUE(session->run("accumulate", batch.inputs(), {{"loss", {&loss, DType::F32, {}}}}).isOk());
      ASSERT_TRUE(session->apply(0.05, step).isOk());
      losses.back().push_back(loss);
    }
    weights.push_back(readAll(*session, Block::Parameter, "weight", 12));
    EXPECT_LT(losses.back().back(), losses.back().front());
  }
  EXPECT_EQ(weights[0], weights[1]);
  EXPECT_EQ(weights[1], weights[2]);
  EXPECT_EQ(losses[0], losses[1]);
}

TEST(Session, AllocatesExactlyWhatTheProgramSays) {
  auto session = openSample();
  MemoryUse use = session->memory();
  EXPECT_EQ(use.arena, 704);
  EXPECT_EQ(use.parameters, 384);
  EXPECT_EQ(use.gradients, 320);
  EXPECT_EQ(use.state, 640);
  EXPECT_EQ(use.constants, 64);
  EXPECT_GT(use.processPeak, 0);
}

TEST(Session, WithoutTrainingHasNoGradients) {
  auto session = openSample({.threads = 1, .training = false});
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  EXPECT_EQ(session->memory().gradients, 0);
  Batch batch;
  EXPECT_TRUE(session->run("predict", {{"ids", {batch.ids.data(), DType::I64, {6}}}}, {}).isOk());
  EXPECT_THAT(session->run("accumulate", batch.inputs(), {}).text(),
              HasSubstr("trains, and this session was opened without training"));
  EXPECT_THAT(session->apply(0.1, 1).status().text(), HasSubstr("without training"));
  std::vector<float> values(12);
  EXPECT_THAT(session->read(Block::Mean, "weight", values).text(), HasSubstr("is not trained in this session"));
}

TEST(Session, MeasuresTimeByInstructionAndCategory) {
  auto session = openSample({.threads = 1, .profiling = true});
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  ASSERT_TRUE(session->run("accumulate", Batch().inputs(), {}).isOk());
  ASSERT_TRUE(session->run("accumulate", Batch().inputs(), {}).isOk());
  ASSERT_TRUE(session->apply(0.1, 1).isOk());
  auto timings = session->timings();
  ASSERT_EQ(timings.size(), 8u);
  EXPECT_EQ(timings[1].origin, "linear");
  EXPECT_EQ(timings[1].calls, 2);
  EXPECT_EQ(timings[7].category, "optimizer");
  EXPECT_EQ(session->secondsByCategory().size(), 4u);
  session->setProfiling(false);
  ASSERT_TRUE(session->run("accumulate", Batch().inputs(), {}).isOk());
  EXPECT_TRUE(session->timings().empty());
}

TEST(Session, DescribesItself) {
  auto session = openSample();
  auto inputs = session->inputs("accumulate");
  ASSERT_TRUE(inputs.isOk());
  ASSERT_EQ(inputs->size(), 3u);
  EXPECT_EQ((*inputs)[1].name, "target");
  EXPECT_EQ((*inputs)[1].shape, (std::vector<int64_t>{6, 4}));
  EXPECT_FALSE((*inputs)[2].required);
  EXPECT_EQ(session->outputs("accumulate")->front().name, "loss");
  EXPECT_THAT(session->inputs("step").status().text(), HasSubstr("it has predict, accumulate, accumulate_more"));
  EXPECT_EQ(session->parameters()[1].aliases, std::vector<std::string>{"tied"});
  EXPECT_EQ(session->threads(), 2);
}

// --- Wrong use
// --------------------------------------------------------------------------------------------------------

TEST(SessionErrors, UnboundWeightsAreListed) {
  auto session = openSample();
  std::vector<float> embed(15);
  ASSERT_TRUE(session->write(Block::Parameter, "embed", embed).isOk());
  EXPECT_THAT(session->run("accumulate", Batch().inputs(), {}).text(), HasSubstr("no weights: weight, frozen"));
}

TEST(SessionErrors, BindingReportsEveryParameter) {
  auto session = openSample();
  Status status = session->bindAll([](const ParameterInfo &info, std::span<float>) {
    return Status::error(Code::Graph, "has no tensor", info.name);
  });
  EXPECT_EQ(status.faults().size(), 3u);
  std::vector<float> few(3);
  EXPECT_THAT(session->write(Block::Parameter, "weight", few).text(), HasSubstr("has shape [4, 3], not 3 elements"));
  EXPECT_THAT(session->write(Block::Parameter, "nobody", few).text(), HasSubstr("no parameter 'nobody'"));
  EXPECT_THAT(session->read(Block::Gradient, "frozen", few).text(), HasSubstr("not 3 elements"));
}

TEST(SessionErrors, AllArgumentsAreChecked) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  Inputs inputs = batch.inputs();
  inputs["ids"].shape = {3, 2};
  inputs["target"].data = nullptr;
  inputs["extra"] = {};
  double loss = 0;
  Status status = session->run("accumulate", inputs, {{"loss", {&loss, DType::F64, {}}}, {"gain", {}}});
  EXPECT_EQ(status.faults().size(), 5u);
  for (const char *part :
       {"input 'ids': has shape [3, 2], expected [6]", "input 'target': has no data", "input 'extra': is none that",
        "output 'loss': is float64, expected float32", "output 'gain': is none that"})
    EXPECT_THAT(status.text(), HasSubstr(part));
  EXPECT_THAT(session->run("accumulate", {}, {}).text(), HasSubstr("input 'ids': is missing"));
  EXPECT_THAT(session->run("train", {}, {}).text(), HasSubstr("has no entry 'train'"));
}

TEST(SessionErrors, ValuesThatDoNotFitAreRejected) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  batch.ids[3] = int64_t(1) << 40;
  EXPECT_THAT(session->run("accumulate", batch.inputs(), {}).text(), HasSubstr("at position 3 does not fit"));
  batch.ids[3] = 0;
  Inputs inputs = batch.inputs();
  inputs["ids"].dtype = DType::F64;
  EXPECT_THAT(session->run("accumulate", inputs, {}).text(), HasSubstr("is float64, expected int32"));
}

TEST(SessionErrors, AnIndexOutsideOfItsTableNamesTheInstruction) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  batch.ids[2] = 5;
  batch.ids[4] = -1;
  Status status = session->run("accumulate", batch.inputs(), {});
  EXPECT_THAT(status.text(),
              HasSubstr("entry 'accumulate': instruction 0 (embed): gather_rows: index 5 at position 2"));
  EXPECT_EQ(status.exitCode(), 3);
}

TEST(SessionErrors, NumbersThatAreNotFiniteFailTheRun) {
  auto session = openSample();
  ASSERT_TRUE(session->bindAll(sampleWeights).isOk());
  Batch batch;
  batch.bias[0] = std::numeric_limits<float>::quiet_NaN();
  Status status = session->run("accumulate", batch.inputs(), {});
  EXPECT_THAT(status.text(), HasSubstr("entry 'accumulate': the loss is not finite"));
  EXPECT_EQ(status.exitCode(), 5);

  std::vector<float> before = readAll(*session, Block::Parameter, "weight", 12), gradient(12, 1);
  gradient[5] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(session->write(Block::Gradient, "weight", gradient).isOk());
  auto report = session->apply(0.1, 1);
  EXPECT_THAT(report.status().text(), HasSubstr("apply: the gradient norm is not finite"));
  EXPECT_EQ(readAll(*session, Block::Parameter, "weight", 12), before);
}

TEST(SessionErrors, ApplyChecksItsNumbers) {
  auto session = openSample();
  EXPECT_EQ(session->apply(-1, 1).status().exitCode(), 2);
  EXPECT_EQ(session->apply(0.1, 0).status().exitCode(), 2);
  EXPECT_EQ(session->apply(std::nan(""), 1).status().exitCode(), 2);
  auto bare = openSample({.threads = 1}, [](schema::ProgramT &p) { p.optimizer.reset(); });
  EXPECT_THAT(bare->apply(0.1, 1).status().text(), HasSubstr("no optimizer"));
}

TEST(SessionErrors, AMissingKernelIsNamed) {
  schema::ProgramT sample = test::sampleProgram();
  sample.kernels[1]->symbol = "not_there";
  auto session = Session::open(*Program::fromBytes(*serializeProgram(sample)), {.threads = 1});
  ASSERT_FALSE(session.isOk());
  EXPECT_THAT(session.status().text(), HasSubstr("has no kernel 'not_there'"));
}

TEST(SessionErrors, MoreMemoryThanThereIsDoesNotFit) {
  schema::ProgramT sample = test::sampleProgram();
  sample.arena_bytes = sample.entries[0]->arena_bytes = int64_t(1) << 46;
  auto program = Program::fromBytes(*serializeProgram(sample));
  ASSERT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, {.threads = 1});
  ASSERT_FALSE(session.isOk());
  EXPECT_EQ(session.status().exitCode(), 4);
  EXPECT_THAT(session.status().text(), HasSubstr("bytes, this machine has"));
}

TEST(SessionErrors, ThreadsFromTheEnvironmentAreChecked) {
  auto open = [] { return Session::open(*Program::fromBytes(test::sampleFile()), {}); };
  ::setenv("GRAFT_THREADS", "1", 1);
  EXPECT_EQ((*open())->threads(), 1);
  for (const char *text : {"0", "-1", "two", "1.5", " 1", "99999999999"}) {
    ::setenv("GRAFT_THREADS", text, 1);
    auto session = open();
    ASSERT_FALSE(session.isOk()) << text;
    EXPECT_EQ(session.status().exitCode(), 2);
    EXPECT_THAT(session.status().text(), HasSubstr("GRAFT_THREADS"));
  }
  ::unsetenv("GRAFT_THREADS");
}

// Tests that every declared host function has a definition.
TEST(HostCalls, AreAllDefined) {
  for (const HostFunction &function : hostFunctions())
    EXPECT_NE(findHostKernel(function.name), nullptr) << function.name;
}

// --- Attention as a program calls it

/// Runs test::loopProgram on six rows of small integers; `rows` says which are selected.
void expectLoop(std::vector<uint8_t> rows, int threads) {
  schema::ProgramT written = test::loopProgram();
  auto program = Program::fromBytes(*serializeProgram(written));
  ASSERT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, {.threads = threads});
  ASSERT_TRUE(session.isOk()) << session.status().text();
  std::vector<float> x(24), y(24, 9), sum(16, 9), wantY(24), wantSum(16);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = float(i % 7) - 3;
  for (size_t r = 0; r < 6; ++r)
    for (size_t i = 0; rows[r] && i < 4; ++i) {
      wantY[r * 4 + i] = x[r * 4 + i];
      for (size_t j = 0; j < 4; ++j)
        wantSum[i * 4 + j] += x[r * 4 + i] * x[r * 4 + j];
    }
  for (int run = 0; run < 2; ++run) { // nothing is left of the first
    Status status =
        (*session)->run("loop", {{"mask", {rows.data(), DType::Bool, {6}}}, {"x", {x.data(), DType::F32, {6, 4}}}},
                        {{"y", {y.data(), DType::F32, {6, 4}}}, {"sum", {sum.data(), DType::F32, {4, 4}}}});
    ASSERT_TRUE(status.isOk()) << status.text();
    EXPECT_EQ(y, wantY);
    EXPECT_EQ(sum, wantSum);
  }
}

TEST(Session, LoopsOverSelectedRows) {
  for (int threads : {1, 2}) {
    expectLoop({1, 1, 1, 1, 1, 1}, threads); // a whole chunk, and half of one
    expectLoop({0, 1, 1, 0, 1, 1}, threads); // exactly one
    expectLoop({1, 0, 1, 1, 1, 1}, threads);
    expectLoop({0, 0, 0, 0, 0, 1}, threads);
    expectLoop({0, 0, 0, 0, 0, 0}, threads); // one pass over nothing: sums are set, not left
  }
}

/// Inputs and outputs of test::attentionProgram.
struct Attend {
  std::vector<float> q = wave(2 * 128 * 64, 0.7f), dOut = wave(2 * 128 * 64, 1.1f), k = wave(2 * 128 * 32, 0.3f),
                     v = wave(2 * 128 * 32, 0.9f);
  std::vector<uint8_t> valid = std::vector<uint8_t>(256, 1);
  std::vector<int64_t> segments = std::vector<int64_t>(256);
  std::vector<float> o = zeros(q), dq = zeros(q), dk = zeros(k), dv = zeros(k), lse = std::vector<float>(1024);

  Attend() {
    for (size_t i = 0; i < 256; ++i)
      segments[i] = int64_t(i % 128 / 50) << 33; // differ beyond 32 bits
    std::fill_n(valid.data() + 240, 16, uint8_t(0));
  }
  static std::vector<float> wave(size_t count, float speed) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i)
      values[i] = 2 * std::sin(speed * float(i % 9973));
    return values;
  }
  static std::vector<float> zeros(const std::vector<float> &like) { return std::vector<float>(like.size()); }

  Status run(Session &session) {
    const std::vector<int64_t> wide = {2, 128, 4, 16}, narrow = {2, 128, 2, 16}, rows = {2, 128};
    return session.run("attend",
                       {{"q", {q.data(), DType::F32, wide}},
                        {"k", {k.data(), DType::F32, narrow}},
                        {"v", {v.data(), DType::F32, narrow}},
                        {"dout", {dOut.data(), DType::F32, wide}},
                        {"valid", {valid.data(), DType::Bool, rows}},
                        {"segments", {segments.data(), DType::I64, rows}}},
                       {{"o", {o.data(), DType::F32, wide}},
                        {"dq", {dq.data(), DType::F32, wide}},
                        {"dk", {dk.data(), DType::F32, narrow}},
                        {"dv", {dv.data(), DType::F32, narrow}},
                        {"lse", {lse.data(), DType::F32, {2, 4, 128}}}});
  }

  void reference() {
    kernels::AttentionShape shape{2, 4, 2, 128, 128, 16, 16, true, 100, false, 0.25f, 5};
    kernels::AttentionMasks masks{valid.data(), segments.data(), 8, 1};
    kernels::HeadStrides wide{128 * 64, 16, 64}, narrow{128 * 32, 16, 32};
    kernels::HeadsIn qIn{q.data(), wide}, kIn{k.data(), narrow}, vIn{v.data(), narrow};
    kernels::attentionForwardReference({shape, masks, qIn, kIn, vIn, {o.data(), wide}, lse.data()});
    kernels::attentionBackwardReference({shape,
                                         masks,
                                         qIn,
                                         kIn,
                                         vIn,
                                         {o.data(), wide},
                                         {dOut.data(), wide},
                                         lse.data(),
                                         {dq.data(), wide},
                                         {dk.data(), narrow},
                                         {dv.data(), narrow}});
  }
};

Attend attend(int threads) {
  schema::ProgramT sample = test::attentionProgram();
  auto program = Program::fromBytes(*serializeProgram(sample));
  EXPECT_TRUE(program.isOk()) << program.status().text();
  auto session = Session::open(*program, {.threads = threads});
  EXPECT_TRUE(session.isOk()) << session.status().text();
  Attend attend;
  for (int round = 0; round < 2; ++round) { // the second finds the scratch of the first
    Status status = attend.run(**session);
    EXPECT_TRUE(status.isOk()) << status.text();
  }
  return attend;
}

TEST(HostCalls, AttentionAgreesWithItsReference) {
  Attend got = attend(2), want;
  want.reference();
  expectNear(got.o, want.o);
  expectNear(got.lse, want.lse);
  expectNear(got.dq, want.dq);
  expectNear(got.dk, want.dk);
  expectNear(got.dv, want.dv);
}

TEST(HostCalls, AttentionGivesTheSameBitsOnOneTwoAndThreeThreads) {
  Attend one = attend(1);
  for (int threads : {2, 3}) {
    Attend more = attend(threads);
    EXPECT_EQ(more.o, one.o);
    EXPECT_EQ(more.lse, one.lse);
    EXPECT_EQ(more.dq, one.dq);
    EXPECT_EQ(more.dk, one.dk);
    EXPECT_EQ(more.dv, one.dv);
  }
}

} // namespace
} // namespace graft
