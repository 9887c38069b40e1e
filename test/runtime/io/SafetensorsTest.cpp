#include "runtime/io/Safetensors.h"

#include "test/runtime/base/TemporaryDirectory.h"
#include "test/runtime/io/SafetensorsBytes.h"

#include <chrono>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using test::entry;
using test::safetensors;
using testing::HasSubstr;

class Safetensors : public testing::Test {
protected:
  Result<SafetensorsFile> open(const std::string &bytes) {
    return SafetensorsFile::open(folder.write("f.safetensors", bytes));
  }
  void expectFault(const std::string &bytes, Code code, const std::string &text) {
    auto file = open(bytes);
    ASSERT_FALSE(file.isOk()) << text;
    EXPECT_EQ(file.status().faults()[0].code, code) << file.status().text();
    EXPECT_THAT(file.status().text(), HasSubstr(text));
    EXPECT_THAT(file.status().faults()[0].place, HasSubstr("f.safetensors"));
  }
  /// One entry named "a" over 4 bytes.
  void expectEntryFault(const std::string &json, Code code, const std::string &text, const std::string &data = "1234") {
    expectFault(safetensors("{\"a\":" + json + "}", data), code, text);
  }

  test::TemporaryDirectory folder;
};

TEST_F(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  std::string data = "12345678", header = R"({"__metadata__":{"format":"pt"},"b":)" + entry("U8", "[4]", 4, 8) +
                                          R"(,"a":)" + entry("F32", "[]", 0, 4) + "}   ";
  auto file = open(safetensors(header, data));
  ASSERT_TRUE(file.isOk()) << file.status().text();
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[1].name, "b");
  EXPECT_EQ(file->tensors()[1].begin, 8 + header.size() + 4);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->find("b")->elements, 4u);
  EXPECT_EQ(file->find("a")->elements, 1u) << "rank 0";
  EXPECT_EQ(file->find("c"), nullptr);
  EXPECT_EQ(*file->readAll<int64_t>(*file->find("b")), (std::vector<int64_t>{'5', '6', '7', '8'}));
}

TEST_F(Safetensors, SurvivesBeingMoved) {
  auto file = open(safetensors("{\"a\":" + entry("U8", "[1]", 0, 1) + "}", "x"));
  SafetensorsFile moved = std::move(*file);
  std::vector<SafetensorsFile> files;
  files.push_back(std::move(moved));
  EXPECT_EQ(files[0].find("a")->elements, 1u);
}

TEST_F(Safetensors, ConvertsFloatsAndIntegers) {
  std::string data("\x00\x3C\x00\xC0\x80\x3F\x01\x00", 8);
  auto file = open(safetensors("{\"h\":" + entry("F16", "[2]", 0, 4) + ",\"b\":" + entry("BF16", "[1]", 4, 6) +
                                   ",\"i\":" + entry("I16", "[1]", 6, 8) + "}",
                               data));
  ASSERT_TRUE(file.isOk()) << file.status().text();
  EXPECT_EQ(*file->readAll<float>(*file->find("h")), (std::vector<float>{1, -2}));
  EXPECT_EQ(*file->readAll<double>(*file->find("b")), std::vector<double>{1});
  EXPECT_EQ(*file->readAll<int64_t>(*file->find("i")), std::vector<int64_t>{1});
  float second;
  EXPECT_TRUE(file->read(*file->find("h"), 1, {&second, 1}).isOk());
  EXPECT_EQ(second, -2);
  EXPECT_EQ(file->readAll<float>(*file->find("i")).status().faults()[0].code, Code::Type);
  EXPECT_EQ(file->readAll<int64_t>(*file->find("h")).status().faults()[0].code, Code::Type);
  EXPECT_EQ(file->read(*file->find("h"), 2, {&second, 1}).faults()[0].code, Code::Range);
}

TEST_F(Safetensors, ReadsLargeTensorsInPieces) {
  size_t count = (3u << 20) / 2 + 7; // three pieces of F16 and a bit
  std::string data(count * 2, '\0');
  for (size_t i = 0; i < count; ++i)
    data[2 * i + 1] = static_cast<char>(i % 251 % 0x7C);
  auto file = open(safetensors("{\"a\":" + entry("F16", "[" + std::to_string(count) + "]", 0, 2 * count) + "}", data));
  ASSERT_TRUE(file.isOk());
  auto values = file->readAll<double>(file->tensors()[0]);
  ASSERT_TRUE(values.isOk());
  for (size_t i = 1; i < count; i += 997)
    ASSERT_EQ((*values)[i] == 0, i % 251 % 0x7C == 0) << i;
}

TEST_F(Safetensors, AcceptsUnusualButLegalFiles) {
  EXPECT_TRUE(open(safetensors("{}")).isOk());
  EXPECT_TRUE(open(safetensors(R"({"__metadata__":{}})")).isOk());
  EXPECT_TRUE(open(safetensors("{\"a\":" + entry("F32", "[0,5]", 0, 0) + ",\"b\":" + entry("U8", "[2]", 0, 2) +
                                   ",\"c\":" + entry("F64", "[9223372036854775807,9223372036854775807,0]", 2, 2) + "}",
                               "xy"))
                  .isOk());
  EXPECT_TRUE(
      open(safetensors("{\"a\":" + entry("U8", "[1]", 0, 1) + ",\"b\":" + entry("F32", "[1]", 1, 5) + "}", "x1234"))
          .isOk())
      << "misaligned";
  EXPECT_TRUE(open(safetensors(R"({"a":{"dtype":"U8","extra":[[{}]],"shape":[1],"data_offsets":[0,1]}})", "x")).isOk())
      << "unknown keys";
  EXPECT_TRUE(
      open(safetensors("{\"\":" + entry("U8", "[1]", 0, 1) + R"(,"../../\u0000x":)" + entry("F4", "[2]", 1, 2) + "}",
                       "xy"))
          .isOk());
  EXPECT_TRUE(open(safetensors("{\"a\":" + entry("U8", "[4]", 0, 4) + "}", "PK\x03\x04")).isOk())
      << "another format inside the data";
}

TEST_F(Safetensors, RefusesBrokenFraming) {
  for (size_t size = 0; size < 8; ++size)
    expectFault(std::string(size, '\0'), Code::Format, "8 bytes of header length");
  expectFault(safetensors("{}", "", 0), Code::Format, "begin with '{'");
  expectFault(safetensors("{}", "", 1), Code::Format, "");
  expectFault(safetensors("{}", "", 3), Code::Format, "only 2 follow");
  expectFault(safetensors("{}", "", 100'000'000), Code::Format, "only 2 follow");
  for (uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7})
    expectFault(safetensors("{}", "", length), Code::Limit, std::to_string(length));
  for (const char *header : {" {}", "\xEF\xBB\xBF{}", "[]", "null", "\"x\""})
    expectFault(safetensors(header), Code::Format, "begin with '{'");
  for (const std::string &tail : {std::string(2, '\0'), std::string("\xFF"), std::string("x"), std::string("{}")})
    expectFault(safetensors("{}" + tail), Code::Format, "something follows");
}

TEST_F(Safetensors, RefusesBrokenJson) {
  expectFault(safetensors("{\"\xFF\":1}"), Code::Format, "UTF-8");
  expectFault(safetensors("{\"\xC0\xAF\":1}"), Code::Format, "UTF-8");
  expectFault(safetensors(R"({"\ud800":1})"), Code::Format, "surrogate");
  expectFault(safetensors("{\"a\":" + std::string(100'000, '[')), Code::Limit, "deeper");
  expectFault(safetensors(R"({"a":{"dtype":"U8","x":)" + std::string(100'000, '{')), Code::Format, "");
}

TEST_F(Safetensors, RefusesDuplicates) {
  std::string a = entry("U8", "[1]", 0, 1), b = entry("U8", "[1]", 1, 2);
  expectFault(safetensors("{\"a\":" + a + ",\"a\":" + b + "}", "xy"), Code::Format, "tensor 'a': occurs twice");
  expectFault(safetensors("{\"a\":" + a + R"(,"\u0061":)" + b + "}", "xy"), Code::Format, "tensor 'a': occurs twice");
  expectFault(safetensors(R"({"__metadata__":{},"__metadata__":{}})"), Code::Format, "'__metadata__': occurs twice");
  expectFault(safetensors(R"({"__metadata__":{"k":"1","k":"2"}})"), Code::Format, "'k': key occurs twice");
  expectEntryFault(R"({"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]})", Code::Format,
                   "'dtype' occurs twice");
}

TEST_F(Safetensors, RefusesEntriesOfTheWrongType) {
  expectEntryFault("1", Code::Type, "an entry must be an object");
  expectEntryFault("{}", Code::Format, "dtype, shape and data_offsets");
  expectEntryFault(R"({"dtype":"U8","shape":[4]})", Code::Format, "dtype, shape and data_offsets");
  for (std::string dtype : {"F128", "f32", ""})
    expectEntryFault(entry(dtype, "[4]", 0, 4), Code::Type, "unknown dtype '" + dtype + "'");
  expectEntryFault(R"({"dtype":32,"shape":[4],"data_offsets":[0,4]})", Code::Type, "dtype must be a string");
  for (std::string dim :
       {"-1", "1.0", "1e3", "\"2\"", "null", "18446744073709551616", "9223372036854775808", "true", "[1]"})
    expectEntryFault(entry("U8", "[" + dim + "]", 0, 4), Code::Type, "shape has");
  expectEntryFault(entry("U8", "4", 0, 4), Code::Type, "shape must be a list");
  for (std::string offsets :
       {"[0]", "[0,4,8]", "[]", "[0.0,4]", "[-0.5,4]", "[-1,4]", "[\"0\",4]", "4", "[0,18446744073709551616]"})
    expectEntryFault(R"({"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}", Code::Type, "data_offsets");
}

TEST_F(Safetensors, RefusesMetadataThatIsNoText) {
  for (std::string value : {"1", "null", "{}", "[]", "true"})
    expectFault(safetensors(R"({"__metadata__":{"k":)" + value + "}}"), Code::Type, "must be a string");
  expectFault(safetensors(R"({"__metadata__":1})"), Code::Type, "must be an object");
}

TEST_F(Safetensors, RefusesOffsetsThatDoNotCoverTheData) {
  auto two = [](uint64_t b0, uint64_t e0, uint64_t b1, uint64_t e1) {
    return "{\"a\":" + entry("U8", "[" + std::to_string(e0 - b0) + "]", b0, e0) +
           ",\"b\":" + entry("U8", "[" + std::to_string(e1 - b1) + "]", b1, e1) + "}";
  };
  expectFault(safetensors(two(0, 4, 5, 8), "12345678"), Code::Range, "tensor 'b': leaves a hole");
  expectFault(safetensors(two(0, 5, 4, 8), "12345678"), Code::Range, "tensor 'b': overlaps");
  expectFault(safetensors(two(0, 8, 0, 8), "12345678"), Code::Range, "tensor 'b': overlaps");
  expectFault(safetensors(two(1, 4, 4, 8), "12345678"), Code::Range, "tensor 'a': leaves a hole");
  expectFault(safetensors(two(0, 4, 4, 8), "123456789"), Code::Range, "end at byte 8");
  expectFault(safetensors(two(0, 4, 4, 8), "1234567"), Code::Range, "do not lie within the 7 bytes");
  expectFault(
      safetensors("{\"a\":" + entry("U8", "[8]", 0, 8) + ",\"z\":" + entry("F32", "[0]", 4, 4) + "}", "12345678"),
      Code::Range, "tensor 'z': overlaps");
  expectEntryFault(entry("U8", "[4]", 4, 0), Code::Range, "do not lie within");
  expectEntryFault(entry("U8", "[4]", UINT64_MAX, 3), Code::Range, "do not lie within");
  expectEntryFault(entry("U8", "[4]", UINT64_MAX - 3, UINT64_MAX), Code::Range, "do not lie within");
}

TEST_F(Safetensors, RefusesShapesThatDoNotFitTheirBytes) {
  for (std::string shape : {"[0]", "[3]", "[5]", "[2,3]"})
    expectEntryFault(entry("U8", shape, 0, 4), Code::Range, "its dtype and shape need");
  expectEntryFault(entry("F32", "[2]", 0, 4), Code::Range, "need 8 bytes");
  expectEntryFault(entry("U8", "[4194305,4194305,211106198978564]", 0, 4), Code::Range, "does not fit into 64 bits");
  expectEntryFault(entry("F32", "[4611686018427387904]", 0, 4), Code::Range, "does not fit into 64 bits");
  expectEntryFault(entry("F4", "[7]", 0, 4), Code::Range, "no whole number of bytes");
  expectEntryFault(entry("F6_E2M3", "[5]", 0, 4), Code::Range, "no whole number of bytes");
}

TEST_F(Safetensors, ReportsAllFaultsAtOnceAndCountsTheRest) {
  auto file = open(safetensors("{\"a\":" + entry("X", "[-1]", 0, 9) + ",\"b\":1}", "1234"));
  EXPECT_EQ(file.status().faults().size(), 4u) << file.status().text();
  std::string header = "{";
  for (int i = 0; i < 50; ++i)
    header += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  file = open(safetensors(header + "}"));
  EXPECT_EQ(file.status().faults().size(), 21u);
  EXPECT_THAT(file.status().text(), HasSubstr("and 30 more faults"));
}

TEST_F(Safetensors, LimitsTheNumberOfEverything) {
  SafetensorsLimits limits;
  limits.tensors = 2, limits.metadata = 2, limits.rank = 2;
  auto parse = [&](const std::string &header, uint64_t bytes) { return parseSafetensorsHeader(header, bytes, limits); };
  std::string empty = entry("U8", "[0]", 0, 0);
  EXPECT_TRUE(parse("{\"a\":" + empty + ",\"b\":" + empty + "}", 0).isOk());
  EXPECT_EQ(parse("{\"a\":" + empty + ",\"b\":" + empty + ",\"c\":" + empty + "}", 0).status().faults()[0].code,
            Code::Limit);
  EXPECT_EQ(parse("{\"a\":" + entry("U8", "[1,1,1]", 0, 1) + "}", 1).status().faults()[0].code, Code::Limit);
  EXPECT_EQ(parse(R"({"__metadata__":{"a":"","b":"","c":"","d":""}})", 0).status().faults().size(), 1u);
  EXPECT_EQ(parse(R"({"__metadata__":{"a":"","b":"","c":""}})", 0).status().faults()[0].code, Code::Limit);
}

TEST_F(Safetensors, ReadsAHundredThousandTensors) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i)
    header += (i ? ",\"t" : "\"t") + std::to_string(i) +
              "\":" + entry("U8", "[1]", static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1);
  auto file = open(safetensors(header + "}", std::string(100'000, 'x')));
  ASSERT_TRUE(file.isOk()) << file.status().text();
  EXPECT_EQ(file->tensors().size(), 100'000u);
}

TEST_F(Safetensors, EscapesNamesInMessages) {
  expectFault(safetensors("{\"\\u001b[31m\\n\":" + entry("U8", "[2]", 0, 1) + "}", "x"), Code::Range,
              "tensor '\\x1B[31m\\x0A'");
}

TEST_F(Safetensors, NamesOtherFormatsAndNeverOpensThem) {
  expectFault(std::string("PK\x03\x04", 4) + std::string(100, 'x'), Code::Unsupported, "zip archive");
  for (char version = 2; version <= 5; ++version)
    expectFault(std::string("\x80") + version + std::string(100, '\x8a'), Code::Unsupported, "pickle");
  expectFault("GGUF" + std::string(100, '\0'), Code::Unsupported, "GGUF");
  expectFault("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", Code::Unsupported, "git lfs pull");
  std::string header = "{\"__metadata__\":{\"k\":\"";
  header +=
      std::string(0x280 - header.size() - 3, 'x') + "\"}}"; // its length is spelled 80 02 00 ..., as a pickle begins
  ASSERT_EQ(header.size(), 0x280u);
  EXPECT_TRUE(open(safetensors(header)).isOk());
}

TEST_F(Safetensors, ReportsTruncationAfterOpening) {
  auto file = open(safetensors("{\"a\":" + entry("U8", "[4]", 0, 4) + "}", "1234"));
  std::filesystem::resize_file(file->path(), 20);
  EXPECT_EQ(file->readAll<int64_t>(file->tensors()[0]).status().faults()[0].code, Code::Io);
}

TEST_F(Safetensors, SurvivesTruncationAtEveryByteAndEveryFlippedBit) {
  std::string good = safetensors(R"({"__metadata__":{"a":"b"},"x":)" + entry("F32", "[2,1]", 0, 8) +
                                     ",\"y\":" + entry("BOOL", "[]", 8, 9) + "}",
                                 "123456789");
  ASSERT_TRUE(open(good).isOk());
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(open(good.substr(0, size)).isOk()) << size;
  for (size_t bit = 0; bit < 8 * (good.size() - 9); ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    auto file = open(bytes); // either answer is fine: no crash, and a fault has a message
    if (!file.isOk())
      EXPECT_FALSE(file.status().faults()[0].message.empty());
  }
}

} // namespace
} // namespace graft
