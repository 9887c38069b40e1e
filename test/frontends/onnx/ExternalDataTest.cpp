// External data: what a model may read, and everything it may not.
#include "frontends/onnx/ExternalData.h"

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "frontends/onnx/ModelFile.h"
#include "frontends/onnx/Sha1.h"
#include "test/frontends/onnx/ModelBuilder.h"

namespace graft::onnx {
namespace {
using testing::HasSubstr;
namespace fs = std::filesystem;

/// A directory `model` with files, and a file outside of it.
class ExternalDataTest : public testing::Test {
protected:
  ExternalDataTest() {
    std::string pattern = (fs::temp_directory_path() / "graft-external-XXXXXX").string();
    top = ::mkdtemp(pattern.data());
    fs::create_directories(top / "model/sub");
    write("outside.bin", "secret--");
    write("model/w.bin", "0123456789abcdef");
    write("model/sub/w.bin", "ABCDEFGH");
  }
  ~ExternalDataTest() override { fs::remove_all(top); }

  void write(const std::string &name, const std::string &text) const {
    std::ofstream(top / name, std::ios::binary) << text;
  }
  std::string directory() const { return (top / "model").string(); }

  /// A tensor FLOAT [2] (8 bytes) with these keys.
  static Tensor tensor(std::vector<Property> keys) {
    Tensor tensor;
    tensor.dataType = Float;
    tensor.dims = {2};
    tensor.dataLocation = 1;
    tensor.external = std::move(keys);
    return tensor;
  }
  std::string contents(const Tensor &tensor, const std::string &root = "") const {
    ExternalData external(directory(), root);
    Result<TensorBytes> bytes = tensorBytes(tensor, &external);
    return bytes.isOk() ? std::string(bytes->view) : bytes.status().text();
  }
  std::string at(std::string_view location, const std::string &root = "") const {
    return contents(tensor({{"location", location}}), root);
  }

  fs::path top;
};

TEST_F(ExternalDataTest, readsBesideAndBeneathTheModel) {
  EXPECT_EQ(at("w.bin"), "01234567");
  EXPECT_EQ(at("sub/w.bin"), "ABCDEFGH");
  EXPECT_EQ(at("./sub//./w.bin"), "ABCDEFGH");
  EXPECT_EQ(contents(tensor({{"location", "w.bin"}, {"offset", "3"}, {"length", "8"}})), "3456789a"); // not aligned
  EXPECT_EQ(contents(tensor({{"location", "w.bin"}, {"offset", "8"}, {"evil_attr", "1"}})), "89abcdef");
}

TEST_F(ExternalDataTest, refusesLocationsByTheirText) {
  for (const char *location : {"../outside.bin", "../../../etc/passwd", "a/../../outside.bin", "./../outside.bin",
                               "sub/../w.bin", "/etc/passwd", "C:\\x", "C:/x", "\\\\host\\share", "file:///etc/passwd",
                               "", ".", "sub/", "a\nb", "a\xFF", "*/_ORT_MEM_ADDR_/*"})
    EXPECT_THAT(at(location), HasSubstr("error[path]")) << location;
  EXPECT_THAT(at(std::string(1 << 20, 'x')), HasSubstr("error[path]"));
  EXPECT_THAT(at(std::string_view("a\0b", 3)), HasSubstr("error[path]"));
}

TEST_F(ExternalDataTest, neverExpandsNames) {
  EXPECT_THAT(at("~/x"), HasSubstr("error[io]"));
  write("model/$HOME", "literal-");
  EXPECT_EQ(at("$HOME"), "literal-");
}

TEST_F(ExternalDataTest, refusesLinks) {
  fs::create_symlink(top / "outside.bin", top / "model/absolute");
  fs::create_symlink("../outside.bin", top / "model/relative");
  fs::create_symlink("w.bin", top / "model/inside");
  fs::create_directory_symlink("..", top / "model/up");
  fs::create_symlink("b", top / "model/a");
  fs::create_symlink("a", top / "model/b");
  fs::create_symlink("nowhere", top / "model/dangling");
  for (const char *location : {"absolute", "relative", "inside", "up/outside.bin", "a", "dangling"})
    EXPECT_THAT(at(location), HasSubstr("error[path]")) << location;
}

TEST_F(ExternalDataTest, refusesHardLinks) {
  fs::create_hard_link(top / "outside.bin", top / "model/hard");
  EXPECT_THAT(at("hard"), HasSubstr("hard links"));
}

TEST_F(ExternalDataTest, followsLinksBeneathAnExplicitRoot) {
  fs::create_directories(top / "blobs");
  write("blobs/hash", "blobblob");
  fs::create_symlink("../blobs/hash", top / "model/cached.bin");
  fs::create_symlink("/etc/passwd", top / "model/absolute");
  fs::create_symlink("../../../../../../etc/passwd", top / "model/far");
  fs::create_symlink("b", top / "model/a");
  fs::create_symlink("a", top / "model/b");
  EXPECT_EQ(at("cached.bin", top.string()), "blobblob");
  EXPECT_EQ(at("w.bin", top.string()), "01234567");
  EXPECT_THAT(at("absolute", top.string()), HasSubstr("error[path]"));
  EXPECT_THAT(at("far", top.string()), HasSubstr("error[path]"));
  EXPECT_THAT(at("a", top.string()), HasSubstr("error[path]"));
  EXPECT_THAT(at("w.bin", (top / "blobs").string()), HasSubstr("error[path]"));
}

TEST_F(ExternalDataTest, refusesWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo((top / "model/pipe").c_str(), 0600), 0);
  EXPECT_THAT(at("pipe"), HasSubstr("not a regular file"));
  EXPECT_THAT(at("sub"), HasSubstr("a directory, expected a file"));
  EXPECT_THAT(at("w.bin/x"), HasSubstr("error[io]"));
  EXPECT_THAT(at("missing"), HasSubstr("No such file"));
}

TEST_F(ExternalDataTest, checksOffsetsAndLengths) {
  auto with = [&](std::string_view key, std::string_view value) {
    return contents(tensor({{"location", "w.bin"}, {key, value}}));
  };
  for (const char *offset :
       {"-1", "abc", "1e3", " 4", "0x10", "18446744073709551616", "", "9", "16", "18446744073709551615"})
    EXPECT_THAT(with("offset", offset), HasSubstr("error[range]")) << offset;
  for (const char *length : {"-1", "0", "1152921504606846976", "7", "9"})
    EXPECT_THAT(with("length", length), HasSubstr("error[range]")) << length;
}

TEST_F(ExternalDataTest, checksKeys) {
  EXPECT_THAT(contents(tensor({{"location", "w.bin"}, {"location", "sub/w.bin"}})), HasSubstr("error[format]"));
  EXPECT_THAT(contents(tensor({{"offset", "0"}})), HasSubstr("error[format]: external data without a location"));
  EXPECT_THAT(contents(tensor(std::vector<Property>(1'000'000, {"k", "v"}))), HasSubstr("error[limit]"));
}

TEST_F(ExternalDataTest, verifiesChecksums) {
  // sha1("0123456789abcdef")
  EXPECT_EQ(contents(tensor({{"location", "w.bin"}, {"checksum", "fe5567e8d769550852182cdf69d74bb16dff8e29"}})),
            "01234567");
  EXPECT_THAT(contents(tensor({{"location", "w.bin"}, {"checksum", "0e5567e8d769550852182cdf69d74bb16dff8e29"}})),
              HasSubstr("error[verify]"));
  EXPECT_THAT(contents(tensor({{"location", "w.bin"}, {"checksum", "FE5567E8D769550852182CDF69D74BB16DFF8E29"}})),
              HasSubstr("error[verify]"));
  EXPECT_THAT(contents(tensor({{"location", "w.bin"}, {"checksum", "x"}})), HasSubstr("error[verify]"));
}

TEST_F(ExternalDataTest, sameBytesAreTheSameRegion) {
  ExternalData external(directory());
  auto a = external.locate(tensor({{"location", "w.bin"}})), b = external.locate(tensor({{"location", "./w.bin"}}));
  auto c = external.locate(tensor({{"location", "w.bin"}, {"offset", "8"}}));
  EXPECT_EQ(*a, *b);
  EXPECT_NE(*a, *c);
}

TEST_F(ExternalDataTest, keepsFewFilesOpen) {
  ExternalData external(directory());
  std::vector<ExternalData::Region> regions;
  for (int i = 0; i < 300; ++i) {
    std::string name = "part" + std::to_string(i);
    write("model/" + name, name + std::string(8, '.'));
    auto region = external.locate(tensor({{"location", name}}));
    ASSERT_TRUE(region.isOk()) << region.status().text();
    regions.push_back(*region);
    EXPECT_LE(external.openFiles(), maxOpenFiles);
  }
  for (int i = 0; i < 300; ++i) {
    std::string bytes(6, 0), expected = ("part" + std::to_string(i) + "......").substr(0, 6);
    ASSERT_TRUE(external.read(regions[i], 0, std::as_writable_bytes(std::span(bytes))).isOk());
    EXPECT_EQ(bytes, expected);
    EXPECT_LE(external.openFiles(), maxOpenFiles);
  }
}

TEST_F(ExternalDataTest, noticesFilesThatChange) {
  ExternalData external(directory());
  auto region = external.locate(tensor({{"location", "w.bin"}, {"offset", "8"}}));
  ASSERT_TRUE(region.isOk());
  fs::resize_file(top / "model/w.bin", 4);
  std::string bytes(8, 0);
  EXPECT_THAT(external.read(*region, 0, std::as_writable_bytes(std::span(bytes))).text(), HasSubstr("became shorter"));
  EXPECT_THAT(external.read(*region, 1, std::as_writable_bytes(std::span(bytes))).text(), HasSubstr("error[range]"));
}

TEST_F(ExternalDataTest, neverReadsTheOutsideFileInARace) {
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    fs::path file = top / "model/race", link = top / "model/link", spare = top / "model/spare";
    while (!stop) {
      std::error_code ignored;
      write("model/spare", "inside--");
      fs::rename(spare, file, ignored);
      fs::create_symlink("../outside.bin", link, ignored);
      fs::rename(link, file, ignored);
    }
  });
  for (int i = 0; i < 5'000; ++i)
    if (std::string bytes = at("race"); bytes != "inside--")
      EXPECT_THAT(bytes, HasSubstr("error[")) << bytes;
  stop = true;
  swapper.join();
}

TEST_F(ExternalDataTest, isCheckedWhereverATensorHides) {
  using namespace test;
  Message outside = tensorHead("w", 1, {2}).integer(14, 1).message(13, property("location", "../outside.bin"));
  Message constant = node("Constant", {}, {"c"}, {Message().text(1, "value").message(5, outside).integer(20, 4)});
  Message branch = graph({.nodes = {constant}, .inputs = {}, .outputs = {value("c")}});
  Message other = graph({.nodes = {node("Neg", {"x"}, {"d"})}, .inputs = {}, .outputs = {value("d")}});
  Message sparse = Message()
                       .message(1, outside)
                       .message(2, tensorHead("", 7, {2}).packed(7, std::vector<int64_t>{0, 1}))
                       .packed(3, std::vector<int64_t>{4});
  Message use = node("Relu", {"x"}, {"y"});
  for (const Message &message :
       {model(graph({.nodes = {use}, .initializers = {outside}})), model(graph({.nodes = {use, constant}})),
        model(graph({.nodes = {node("If", {"x"}, {"y"},
                                    {graphAttribute("then_branch", branch), graphAttribute("else_branch", other)})}})),
        model(graph({.nodes = {use}}), {function("f", {}, {"c"}, {constant})}),
        model(graph({.nodes = {use}}).message(15, sparse))}) {
    write("model/m.onnx", message.bytes);
    auto file = ModelFile::read(directory() + "/m.onnx");
    ASSERT_FALSE(file.isOk());
    EXPECT_THAT(file.status().text(), HasSubstr("error[path]"));
  }
}

TEST_F(ExternalDataTest, saysOnceThatAFileIsMissing) {
  using namespace test;
  std::vector<Message> tensors;
  for (int i = 0; i < 50; ++i)
    tensors.push_back(
        tensorHead("w" + std::to_string(i), 1, {2}).integer(14, 1).message(13, property("location", "missing.bin")));
  write("model/m.onnx", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .initializers = tensors})).bytes);
  auto file = ModelFile::read(directory() + "/m.onnx");
  ASSERT_FALSE(file.isOk());
  EXPECT_EQ(file.status().faults().size(), 1u);
  ReadOptions withoutFiles;
  withoutFiles.externalData = false;
  EXPECT_TRUE(ModelFile::read(directory() + "/m.onnx", withoutFiles).isOk());
}

TEST_F(ExternalDataTest, modelFilesMustBeRegular) {
  ASSERT_EQ(::mkfifo((top / "model/pipe.onnx").c_str(), 0600), 0);
  for (const char *path : {"model", "model/pipe.onnx", "model/missing.onnx"})
    EXPECT_THAT(ModelFile::read((top / path).string()).status().text(), HasSubstr("error[io]")) << path;
  EXPECT_THAT(ModelFile::read("/dev/zero").status().text(), HasSubstr("not a regular file"));
  write("model/huge.onnx", "");
  fs::resize_file(top / "model/huge.onnx", uint64_t{1} << 31);
  EXPECT_THAT(ModelFile::read((top / "model/huge.onnx").string()).status().text(), HasSubstr("error[limit]"));
  fs::resize_file(top / "model/huge.onnx", (uint64_t{1} << 31) - 1);
  EXPECT_THAT(ModelFile::read((top / "model/huge.onnx").string()).status().text(), HasSubstr("error[format]"));
}

TEST(Sha1Test, agreesWithTheStandard) {
  auto of = [](const std::string &text, size_t piece) {
    Sha1 sha1;
    for (size_t i = 0; i < text.size(); i += piece)
      sha1.update(std::as_bytes(std::span(text).subspan(i, std::min(piece, text.size() - i))));
    return sha1.finish();
  };
  EXPECT_EQ(of("", 1), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(of("abc", 3), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 5),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(of(std::string(1'000'000, 'a'), 777), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

} // namespace
} // namespace graft::onnx
