#include "runtime/exec/Optimizer.h"

#include "test/runtime/program/SampleProgram.h"

#include <cmath>
#include <gtest/gtest.h>

namespace graft {
namespace {

/// Learning rates of steps 1 to 10 for a base rate of 1.
std::vector<double> rates(schema::Schedule schedule, int64_t warmup) {
  schema::OptimizerT optimizer;
  optimizer.name = "adamw";
  optimizer.learning_rate = 1;
  optimizer.schedule = schedule;
  optimizer.warmup_steps = warmup;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Optimizer::Pack(builder, &optimizer));
  const auto *table = flatbuffers::GetRoot<schema::Optimizer>(builder.GetBufferPointer());
  std::vector<double> rates;
  for (int64_t step = 1; step <= 10; ++step)
    rates.push_back(scheduledLearningRate(*table, step, 10));
  return rates;
}

TEST(Schedule, Constant) {
  EXPECT_EQ(rates(schema::Schedule::Constant, 0), std::vector<double>(10, 1));
}

TEST(Schedule, WarmsUp) {
  auto r = rates(schema::Schedule::Constant, 4);
  EXPECT_EQ(r[0], 0.25);
  EXPECT_EQ(r[3], 1);
  EXPECT_EQ(r[9], 1);
}

TEST(Schedule, DecaysLinearlyAfterWarmUp) {
  auto r = rates(schema::Schedule::Linear, 2);
  EXPECT_EQ(r[1], 1);
  EXPECT_EQ(r[2], 1);
  EXPECT_NEAR(r[6], 0.5, 1e-12);
  EXPECT_NEAR(r[9], 0.125, 1e-12);
}

TEST(Schedule, DecaysAsACosine) {
  auto r = rates(schema::Schedule::Cosine, 0);
  EXPECT_EQ(r[0], 1);
  EXPECT_NEAR(r[5], 0.5, 1e-12);
  EXPECT_GT(r[9], 0);
}

} // namespace
} // namespace graft
