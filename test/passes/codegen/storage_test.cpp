// Storage types: conversion to and from f32, and rounding inside a program.
#include "test/passes/codegen/Kernels.h"
#include <bit>
#include <cmath>

namespace graft::test {
namespace {

constexpr const char *kConvert = R"(
!from = !rt.access<FROM, [COLUMNS], 1, align 16>
!to = !rt.access<TO, [COLUMNS], 1, align 16>
rt.row_program @convert rows [1] columns COLUMNS (%x: !from, %y: !to) {
  rt.sweep (%a = %x : !from) writes (%y : !to) { rt.yield %a : f32 }
})";

/// Values around every rounding boundary: all upper halves with lower halves at, below and above the tie.
std::vector<float> roundingCases() {
  std::vector<float> values;
  for (uint32_t upper = 0; upper < 0x10000; upper += 7)
    for (uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
  return values;
}

TEST(Bf16, StoresRoundToNearestEven) {
  std::vector<float> x = roundingCases();
  std::string text = substitute(kConvert, {{"COLUMNS", std::to_string(x.size())}, {"FROM", "f32"}, {"TO", "bf16"}});
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(text, machine);
    std::vector<uint16_t> y(x.size());
    kernels.run("convert", {x.data(), y.data()});
    for (size_t i = 0; i < x.size(); ++i)
      if (std::isnan(x[i]))
        ASSERT_TRUE(std::isnan(fromBf16(y[i]))) << name(machine);
      else
        ASSERT_EQ(y[i], toBf16(x[i])) << name(machine) << " " << std::hex << std::bit_cast<uint32_t>(x[i]);
  }
}

TEST(Bf16, LoadsAreExact) {
  std::vector<uint16_t> x(65536);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i;
  std::string text = substitute(kConvert, {{"COLUMNS", "65536"}, {"FROM", "bf16"}, {"TO", "f32"}});
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(text, machine);
    std::vector<uint32_t> y(x.size());
    kernels.run("convert", {x.data(), y.data()});
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(y[i], uint32_t(i) << 16) << name(machine);
  }
}

TEST(F16, RoundTripsThroughF32) {
  std::vector<uint16_t> x(65536);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i;
  std::string out =
      substitute(kConvert, {{"COLUMNS", "65536"}, {"FROM", "f16"}, {"TO", "f32"}, {"@convert", "@widen"}});
  std::string in =
      substitute(kConvert, {{"COLUMNS", "65536"}, {"FROM", "f32"}, {"TO", "f16"}, {"@convert", "@narrow"}});
  for (const Machine &machine : machines()) {
    Kernels widen = Kernels::compile(out, machine), narrow = Kernels::compile(in, machine);
    std::vector<float> wide(x.size());
    std::vector<uint16_t> back(x.size());
    widen.run("widen", {x.data(), wide.data()});
    narrow.run("narrow", {wide.data(), back.data()});
    EXPECT_EQ(wide[0x3c00], 1.0f);
    EXPECT_EQ(wide[0x7bff], 65504.0f);
    for (size_t i = 0; i < x.size(); ++i)
      if (!std::isnan(wide[i]))
        ASSERT_EQ(back[i], i) << name(machine);
  }
}

constexpr const char *kRound = R"(
!f32 = !rt.access<f32, [100], 1>
!row = !rt.access<bf16, [1], 0>
rt.row_program @round rows [2] columns 100 (%x: !f32, %y: !f32, %r: !row, %s: !row) {
  %one = rt.load %r : !row -> f32
  %small = arith.truncf %one : f32 to bf16
  %wide = arith.extf %small : bf16 to f32
  rt.sweep (%a = %x : !f32) writes (%y : !f32) {
    %b = arith.truncf %a : f32 to bf16
    %c = arith.extf %b : bf16 to f32
    %d = arith.addf %c, %wide : f32
    rt.yield %d : f32
  }
  %third = arith.constant 0.333333333 : f32
  rt.store %third, %s : f32, !row
})";

// Tests that truncf and extf round as storage does, in sweeps and in rows, and that per-row values convert.
TEST(Bf16, RoundsInsideAProgram) {
  std::vector<float> x = randomFloats(200, 11);
  std::vector<uint16_t> one = {toBf16(1), toBf16(-3)};
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kRound, machine);
    std::vector<float> y(200);
    std::vector<uint16_t> third(2);
    kernels.run("round", {x.data(), y.data(), one.data(), third.data()});
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(y[i], fromBf16(toBf16(x[i])) + (i < 100 ? 1 : -3)) << name(machine);
    EXPECT_EQ(third[1], toBf16(0.333333333f));
  }
}

constexpr const char *kTypes = R"(
!ids = !rt.access<i64, [70], 1>
!segments = !rt.access<i32, [70], 1>
!flags = !rt.access<i1, [70], 1>
!id = !rt.access<i64, [1], 0>
!f32 = !rt.access<f32, [70], 1>
rt.row_program @types rows [3] columns 70 (%ids: !ids, %segments: !segments, %flags: !flags, %id: !id, %y: !f32, %z: !flags) {
  %own = rt.load %id : !id -> i64
  rt.sweep (%a = %ids : !ids, %b = %segments : !segments, %c = %flags : !flags) writes (%y : !f32, %z : !flags) {
    %same = arith.cmpi eq, %a, %own : i64
    %either = arith.ori %same, %c : i1
    %f = arith.sitofp %b : i32 to f32
    %g = arith.uitofp %either : i1 to f32
    %h = arith.addf %f, %g : f32
    %i = arith.sitofp %a : i64 to f32
    %j = arith.addf %h, %i : f32
    rt.yield %j, %either : f32, i1
  }
})";

TEST(Integers, AreComparedAndConverted) {
  std::vector<int64_t> ids(210), own = {3, -4, 5};
  std::vector<int32_t> segments(210);
  std::vector<uint8_t> flags(210);
  for (int64_t i = 0; i < 210; ++i) {
    ids[i] = i % 11 - 5;
    segments[i] = i * 1000 - 50000;
    flags[i] = i % 3 == 0;
  }
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kTypes, machine);
    std::vector<float> y(210);
    std::vector<uint8_t> z(210, 9);
    kernels.run("types", {ids.data(), segments.data(), flags.data(), own.data(), y.data(), z.data()});
    for (int64_t i = 0; i < 210; ++i) {
      bool either = ids[i] == own[i / 70] || flags[i];
      ASSERT_EQ(z[i], either) << name(machine);
      ASSERT_EQ(y[i], float(segments[i]) + either + float(ids[i])) << name(machine);
    }
  }
}

} // namespace
} // namespace graft::test
