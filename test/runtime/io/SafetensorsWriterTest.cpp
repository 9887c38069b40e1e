#include "runtime/io/Safetensors.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

using test::TemporaryDirectory;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(SafetensorsWriter, WritesExactlyTheseBytes) {
  TemporaryDirectory folder;
  auto writer = SafetensorsWriter::create(folder.path("f"),
                                          {{"b", DType::BF16, {2, 1}}, {"a\"", DType::U8, {}}, {"e", DType::F32, {0}}},
                                          {{"format", "pt"}});
  ASSERT_TRUE(writer.isOk()) << writer.status().text();
  EXPECT_EQ(writer->tensors()[0].name, "a\"") << "sorted by name";
  ASSERT_TRUE(writer->append(bytes("x")).isOk());
  std::vector<float> values = {1.0f, -2.0f};
  ASSERT_TRUE(writer->append(std::span<const float>(values).first(1)).isOk()) << "in pieces";
  ASSERT_TRUE(writer->append(std::span<const float>(values).last(1)).isOk());
  ASSERT_TRUE(writer->commit().isOk());
  std::string header =
      R"({"__metadata__":{"format":"pt"},"a\"":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
      R"("b":{"dtype":"BF16","shape":[2,1],"data_offsets":[1,5]},"e":{"dtype":"F32","shape":[0],"data_offsets":[5,5]}})";
  header.append((64 - (8 + header.size()) % 64) % 64, ' ');
  std::string expected = std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "x" +
                         std::string("\x80\x3F\x00\xC0", 4);
  EXPECT_EQ(folder.read("f"), expected);
}

TEST(SafetensorsWriter, StartsDataAtAMultipleOf64) {
  TemporaryDirectory folder;
  for (int length = 1; length < 70; ++length) {
    auto writer =
        SafetensorsWriter::create(folder.path("f"), {{std::string(static_cast<size_t>(length), 'n'), DType::U8, {1}}});
    ASSERT_TRUE(writer->append(bytes("x")).isOk());
    ASSERT_TRUE(writer->commit().isOk());
    auto file = SafetensorsFile::open(folder.path("f"));
    ASSERT_TRUE(file.isOk());
    EXPECT_EQ(file->tensors()[0].begin % 64, 0u);
  }
}

TEST(SafetensorsWriter, RoundsFloatsOfEveryTypeInPieces) {
  TemporaryDirectory folder;
  std::vector<float> values(300'001);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i % 1000) / 8;
  for (DType dtype : {DType::F64, DType::F32, DType::F16, DType::BF16}) {
    auto writer = SafetensorsWriter::create(folder.path("f"), {{"a", dtype, {300'001}}});
    ASSERT_TRUE(writer->append(std::span<const float>(values)).isOk());
    ASSERT_TRUE(writer->commit().isOk());
    auto file = SafetensorsFile::open(folder.path("f"));
    auto back = file->readAll<float>(file->tensors()[0]);
    ASSERT_TRUE(back.isOk());
    for (size_t i = 0; i < values.size(); i += 7)
      ASSERT_NEAR((*back)[i], values[i], dtype == DType::BF16 ? 0.25 : 0) << name(dtype);
  }
}

TEST(SafetensorsWriter, RefusesDeclarationsThatMakeNoFile) {
  TemporaryDirectory folder;
  auto code = [&](std::vector<TensorDeclaration> tensors) {
    return SafetensorsWriter::create(folder.path("f"), std::move(tensors)).status().faults().at(0).code;
  };
  EXPECT_EQ(code({{"a", DType::U8, {1}}, {"a", DType::U8, {1}}}), Code::Graph);
  EXPECT_EQ(code({{"__metadata__", DType::U8, {1}}}), Code::Graph);
  EXPECT_EQ(code({{"a", DType::U8, {-1}}}), Code::Range);
  EXPECT_EQ(code({{"a", DType::U8, {1ll << 40, 1ll << 40}}}), Code::Range);
  EXPECT_EQ(code({{"a", DType::F4, {3}}}), Code::Range);
  EXPECT_EQ(code({{"a", DType::U8, {INT64_MAX / 8}}, {"b", DType::F64, {INT64_MAX / 4}}}), Code::Range);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(SafetensorsWriter, RefusesTooManyOrTooFewValuesAndLeavesNoFile) {
  TemporaryDirectory folder;
  {
    auto writer = SafetensorsWriter::create(folder.path("f"), {{"a", DType::F32, {2}}, {"b", DType::I8, {4}}});
    std::vector<float> values(3);
    EXPECT_EQ(writer->append(std::span<const float>(values)).faults().at(0).code, Code::Internal);
    EXPECT_EQ(writer->commit().faults().at(0).code, Code::Internal);
    EXPECT_TRUE(writer->append(std::span<const float>(values).first(2)).isOk());
    EXPECT_EQ(writer->append(std::span<const float>(values).first(2)).faults().at(0).code, Code::Type)
        << "floats into I8";
    EXPECT_TRUE(writer->append(bytes("1234")).isOk());
    EXPECT_EQ(writer->append(bytes("5")).faults().at(0).code, Code::Internal);
    EXPECT_EQ(writer->append(std::span<const float>(values)).faults().at(0).code, Code::Internal);
  }
  EXPECT_EQ(folder.entries(), 0u);
}

} // namespace
} // namespace graft
