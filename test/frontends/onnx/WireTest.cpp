// The wire format: what is not protobuf, what is too deep or too much, and that no damage to a file does harm.
#include "frontends/onnx/Parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontends/onnx/ModelFile.h"
#include "test/frontends/onnx/ModelBuilder.h"

namespace graft::onnx {
namespace {
using namespace test;
using testing::HasSubstr;

std::string faultOf(std::string_view bytes) {
  Result<Model> model = parseModel(bytes);
  return model.isOk() ? "" : model.status().text();
}

TEST(Wire, refusesLengthsBeyondTheEnd) {
  EXPECT_THAT(faultOf(std::string("\x3A\xFF\xFF\xFF\xFF\x0F", 6) + "0123456789"),
              HasSubstr("error[format]: byte 0, ModelProto: a field of 4294967295 bytes where 10 are left"));
  EXPECT_THAT(faultOf(std::string("\x3A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 10) + "0123456789"),
              HasSubstr("a field of 9223372036854775807 bytes"));
  // 2^32 + 2 must not be cut to 2.
  EXPECT_THAT(faultOf(std::string("\x3A\x82\x80\x80\x80\x10", 6) + "01"), HasSubstr("a field of 4294967298 bytes"));
}

TEST(Wire, refusesWhatIsNoField) {
  EXPECT_THAT(faultOf(std::string("\x08") + std::string(11, '\xFF')),
              HasSubstr("a varint is cut off or longer than 10 bytes"));
  EXPECT_THAT(faultOf(std::string_view("\x00\x01", 2)), HasSubstr("number 0"));
  EXPECT_THAT(faultOf("\x0E"), HasSubstr("wire type 6"));
  EXPECT_THAT(faultOf("\x0F"), HasSubstr("wire type 7"));
  EXPECT_THAT(faultOf("\x0C"), HasSubstr("the end of a group that was not begun"));
  EXPECT_THAT(faultOf("\x08"), HasSubstr("error[format]"));
}

TEST(Wire, refusesKnownFieldsOfAnotherWireType) {
  EXPECT_THAT(faultOf(Message().integer(7, 1).bytes), HasSubstr("field 7 has wire type 0, expected 2"));
  EXPECT_THAT(faultOf(Message().text(1, "x").bytes), HasSubstr("field 1 has wire type 2, expected 0"));
}

TEST(Wire, passesOverUnknownFieldsAndGroups) {
  Message message = model(graph({.nodes = {node("Relu", {"x"}, {"y"})}}));
  message.text(999, std::string(100'000, 'z')).integer(1000, 5).raw("\xA3\x06\x08\x01\xA3\x06\xA4\x06\xA4\x06");
  EXPECT_EQ(faultOf(message.bytes), "");
}

TEST(Wire, boundsGroups) {
  std::string deep;
  for (int i = 0; i < 1'000'000; ++i)
    deep += "\xA3\x06";
  EXPECT_THAT(faultOf(deep), HasSubstr("error[limit]: byte 0, ModelProto: groups nested deeper than 100"));
  EXPECT_THAT(faultOf("\xA3\x06"), HasSubstr("a group without an end"));
  EXPECT_THAT(faultOf("\xA3\x06\xAC\x06"), HasSubstr("the end of another group"));
}

/// A message `depth` levels below the root: graph, node, attribute, graph, ...
std::string nestedTo(int depth) {
  constexpr uint32_t fields[] = {6, 1, 5}; // by level modulo 3: graph of an attribute, node, attribute
  Message inner;
  for (int level = depth; level >= 1; --level)
    inner = Message().message(level == 1 ? 7 : fields[(level - 1) % 3], inner);
  return inner.bytes;
}

TEST(Wire, boundsMessageDepth) {
  EXPECT_EQ(faultOf(nestedTo(50)), "");
  EXPECT_EQ(faultOf(nestedTo(99)), "");
  EXPECT_EQ(faultOf(nestedTo(100)), "");
  EXPECT_THAT(faultOf(nestedTo(101)), HasSubstr("error[limit]"));
  EXPECT_THAT(faultOf(nestedTo(3'000)), HasSubstr("messages nested deeper than 100"));
}

TEST(Wire, boundsMemory) {
  Message ints;
  ints.text(8, std::string(80'000'000, '\x01'));
  Message attribute = Message().message(7, Message().message(1, Message().message(5, ints)));
  EXPECT_THAT(faultOf(attribute.bytes), HasSubstr("error[limit]"));
  std::string nodes;
  for (int i = 0; i < 5'000'000; ++i)
    nodes.append("\x0A\x00", 2);
  EXPECT_THAT(faultOf(Message().text(7, nodes).bytes), HasSubstr("the model's structure needs more than 512 MiB"));
}

TEST(Wire, readsRepeatedScalarsPackedOrNot) {
  Message attribute = intAttribute("a", 1);
  Message parts;
  parts.text(1, "v").integer(8, 7).packed(8, std::vector<int64_t>{-1, 300}).integer(20, 7);
  Result<Model> read = parseModel(model(graph({.nodes = {node("Relu", {"x"}, {"y"}, {parts})}})).bytes);
  ASSERT_TRUE(read.isOk());
  EXPECT_THAT(read->graph->nodes[0].attributes[0].ints, testing::ElementsAre(7, -1, 300));
}

TEST(Wire, escapesNames) {
  Message message = model(graph({.nodes = {node("Relu", {"bad\xFF\x1B[2J\n"}, {"y"})}}));
  auto file = ModelFile::readBytes(message.bytes, "m");
  ASSERT_FALSE(file.isOk());
  EXPECT_THAT(file.status().text(), HasSubstr("uses 'bad\\xFF\\x1B[2J\\x0A'"));
}

/// A model with one of everything that the parser reads.
std::string specimen() {
  Message branch = graph({.nodes = {node("Relu", {"x"}, {"b"})}, .inputs = {}, .outputs = {value("b")}});
  Message other = graph({.nodes = {node("Neg", {"x"}, {"c"})}, .inputs = {}, .outputs = {value("c")}});
  std::vector<Message> nodes = {
      node("f", {"x"}, {"t"}, {intAttribute("k", 1)}, "local").message(9, property("namespace", "a: A/b: B")),
      node("If", {"t"}, {"u"}, {graphAttribute("then_branch", branch), graphAttribute("else_branch", other)}),
      node("Constant", {}, {"s"},
           {Message()
                .text(1, "value")
                .message(5, tensorHead("", 7, {2}).packed(7, std::vector<int64_t>{1, 2}))
                .integer(20, 4)}),
      node("Add", {"u", "w"}, {"y"}, {Message().text(1, "l").packed(7, std::vector<float>{1, 2}).integer(20, 6)})};
  return model(graph({.nodes = nodes,
                      .initializers = {floats("w", {2}, {1, 2}), tensorHead("v", 11, {1}).text(9, "12345678")}}),
               {function("f", {"a"}, {"b"}, {node("Softmax", {"a"}, {"b"}, {reference("axis", "k", 2)})}, {"k"})})
      .bytes;
}

TEST(Wire, survivesTruncationAtEveryByte) {
  std::string whole = specimen();
  ASSERT_TRUE(ModelFile::readBytes(whole, "m").isOk()) << ModelFile::readBytes(whole, "m").status().text();
  for (size_t size = 0; size < whole.size(); ++size)
    if (auto file = ModelFile::readBytes(whole.substr(0, size), "m"); !file.isOk())
      EXPECT_EQ(file.status().exitCode(), 3) << size;
}

TEST(Wire, survivesEveryFlippedBit) {
  std::string whole = specimen();
  size_t accepted = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    auto file = ModelFile::readBytes(std::move(damaged), "m");
    accepted += file.isOk();
    if (!file.isOk())
      EXPECT_EQ(file.status().exitCode(), 3) << bit << file.status().text();
  }
  EXPECT_GT(accepted, 0u); // bits of weights and of names that nobody refers to
}

TEST(Signature, namesWhatTheFileIsInstead) {
  auto text = [](std::string bytes) { return ModelFile::readBytes(std::move(bytes), "m").status().text(); };
  EXPECT_THAT(text("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("a Git LFS pointer"));
  EXPECT_THAT(text("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(text("PK\x03\x04zip"), HasSubstr("a zip archive"));
  EXPECT_THAT(text("\x1F\x8B\x08"), HasSubstr("a gzip archive"));
  EXPECT_THAT(text("%PDF-1.7"), HasSubstr("a PDF document"));
  EXPECT_THAT(text("<!DOCTYPE html>"), HasSubstr("an HTML"));
  EXPECT_THAT(text(std::string(257, 'a') + "ustar"), HasSubstr("a tar archive"));
}

} // namespace
} // namespace graft::onnx
