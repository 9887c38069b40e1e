#include "frontends/weights/Binding.h"

#include "test/frontends/weights/CheckpointFiles.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using namespace test;
using testing::HasSubstr;

class Binding : public testing::Test {
protected:
  void SetUp() override {
    std::vector<float> four = {1, 2, 3, 4};
    writeCheckpointFile(folder.path("model.safetensors"), {{"embed", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}},
                                                           {"w1", {2, 2}, four},
                                                           {"w2", {2, 2}, four},
                                                           {"norm", {2}, {1, 1}}});
    auto opened = Checkpoint::open(folder.path());
    ASSERT_TRUE(opened.isOk());
    checkpoint.emplace(std::move(*opened));
  }
  Result<std::vector<ParameterBinding>> bind(std::vector<GraphParameter> parameters,
                                             std::map<std::string, std::string> renames = {}, bool tied = false) {
    return bindParameters(*checkpoint, parameters, renames, tied);
  }

  TemporaryDirectory folder;
  std::optional<Checkpoint> checkpoint;
};

TEST_F(Binding, GoesByNameFirst) {
  auto bindings = bind({{"w1", {2, 2}}, {"norm", {2}}});
  ASSERT_TRUE(bindings.isOk()) << bindings.status().text();
  EXPECT_EQ((*bindings)[0].tensor, "w1");
  EXPECT_EQ((*bindings)[0].how, BoundBy::Name);
}

TEST_F(Binding, ObeysRenames) {
  auto bindings = bind({{"w1", {2, 2}}}, {{"w1", "w2"}});
  EXPECT_EQ((*bindings)[0].tensor, "w2");
  EXPECT_EQ((*bindings)[0].how, BoundBy::Rename);
}

TEST_F(Binding, FindsExternalDataInTheFileItself) {
  uint64_t begin = checkpoint->find("w2")->info->begin;
  auto bindings = bind({{"val_7", {2, 2}, "model.safetensors", begin, 16}});
  ASSERT_TRUE(bindings.isOk()) << bindings.status().text();
  EXPECT_EQ((*bindings)[0].tensor, "w2");
  EXPECT_EQ((*bindings)[0].how, BoundBy::ExternalData);
  EXPECT_FALSE(bind({{"val_7", {4, 1}, "model.safetensors", begin, 16}}).isOk()) << "another shape is another tensor";
}

TEST_F(Binding, UsesATieOnlyWhereOneMatrixFits) {
  auto bindings = bind({{"lm_head", {4, 2}}}, {}, true);
  ASSERT_TRUE(bindings.isOk());
  EXPECT_EQ((*bindings)[0].tensor, "embed");
  EXPECT_EQ((*bindings)[0].how, BoundBy::Tie);
  EXPECT_FALSE(bind({{"lm_head", {4, 2}}}, {}, false).isOk());
  EXPECT_FALSE(bind({{"lm_head", {2, 2}}}, {}, true).isOk()) << "w1 or w2?";
  EXPECT_FALSE(bind({{"bias", {2}}}, {}, true).isOk()) << "a vector is no embedding";
}

TEST_F(Binding, ReportsEveryFaultWithWhatToDo) {
  auto bindings =
      bind({{"x", {2, 2}}, {"y", {9}}, {"w1", {4}}, {"embed", {4, 2}}}, {{"embed", "nothing"}, {"ghost", "w1"}});
  ASSERT_FALSE(bindings.isOk());
  std::string text = bindings.status().text();
  EXPECT_EQ(bindings.status().faults().size(), 5u) << text;
  EXPECT_EQ(bindings.status().exitCode(), 2) << "a wrong recipe comes first";
  EXPECT_THAT(text, HasSubstr("the graph has no parameter 'ghost'"));
  EXPECT_THAT(text, HasSubstr("tensors of this shape: 'w1', 'w2'; say which in [model.names]"));
  EXPECT_THAT(text, HasSubstr("no tensor of the checkpoint has shape [9]"));
  EXPECT_THAT(text, HasSubstr("has shape [4] in the graph, 'w1' has [2, 2]"));
  EXPECT_THAT(text, HasSubstr("no tensor 'nothing'"));
}

TEST_F(Binding, RefusesIntegersAsWeights) {
  auto writer = SafetensorsWriter::create(folder.path("i.safetensors"), {{"q", DType::I8, {1}}});
  ASSERT_TRUE(writer->append(std::as_bytes(std::span("x", 1))).isOk());
  ASSERT_TRUE(writer->commit().isOk());
  auto integers = Checkpoint::open(folder.path("i.safetensors"));
  std::vector<GraphParameter> parameters = {{"q", {1}}};
  EXPECT_EQ(bindParameters(*integers, parameters, {}, false).status().faults()[0].code, Code::Type);
}

} // namespace
} // namespace graft
