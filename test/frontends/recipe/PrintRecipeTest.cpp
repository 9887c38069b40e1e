#include "frontends/recipe/Keys.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace graft {
namespace {

Recipe parsed(std::string_view text, const std::string &file = "recipe.toml") {
  Result<Recipe> recipe = parseRecipe(text, file);
  EXPECT_TRUE(recipe.isOk()) << recipe.status().text();
  return recipe.isOk() ? *recipe : Recipe();
}

const char smallest[] =
    "[model]\ngraph = \"m.onnx\"\n[objective]\npreset = \"sft\"\n[batch]\nsequences = 2\ntokens = 8\n";

TEST(PrintRecipe, SpellsOutEveryDefault) {
  EXPECT_EQ(printRecipe(parsed(smallest)), R"([model]
graph = "m.onnx"

[objective]
preset = "sft"
old_logprobs = "batch"
ref_logprobs = "batch"

[batch]
sequences = 2
tokens = 8
share_prompts = true
micro_batches = 1

[optimizer]
name = "adamw"
lr = 1e-06
betas = [0.9, 0.95]
eps = 1e-08
weight_decay = 0.1
decay = "matrices"
clip_grad_norm = 1.0
state = "float32"
on_nonfinite = "stop"
in_backward = false

[optimizer.schedule]
kind = "constant"
warmup_steps = 0

[precision]
parameters = "float32"
compute = "float32"

[mesh]
data = 1
tensor = 1

[target]
device = "cpu"
)");
}

TEST(PrintRecipe, ReadsBackEqual) {
  const char full[] = R"(
[model]
graph = "a/../m.mlirbc"
weights = "hub folder"
[model.names]
"lm_head.weight" = "model.embed_tokens.weight"
'quote " and \ backslash' = "\"\\"
"tensor ü" = "tensor ü"
[objective]
file = "mine.objective"
advantages = "rloo"
aggregation = "sequence_mean_token_sum_norm"
kl = "k3"
old_logprobs = "current"
ref_logprobs = "initial"
clip_low = 0.2
divisor = 1024
mode = "abs\"olute"
dual_clip = true
tiny = 5e-324
large = 1.7976931348623157e308
third = 0.3333333333333333
[batch]
sequences = 65536
tokens = 1048576
packed = 4096
share_prompts = false
micro_batches = "auto"
[optimizer]
lr = 3e-7
betas = [0, 0.999]
eps = 0.0
weight_decay = 0
decay = "all"
clip_grad_norm = 0
state = "8bit"
on_nonfinite = "skip"
[optimizer.schedule]
kind = "cosine"
warmup_steps = 20
[memory]
budget = "6.5 GiB"
[target]
device = "cpu"
)";
  Recipe recipe = parsed(full, "dir/recipe.toml");
  Recipe again = parsed(printRecipe(recipe), "dir/recipe.toml");
  EXPECT_EQ(again, recipe) << printRecipe(recipe);
  EXPECT_EQ(printRecipe(again), printRecipe(recipe));
  EXPECT_EQ(parsed(printRecipe(parsed(smallest))), parsed(smallest));
}

// Tests that the table of keys in the folder's README knows every key that works, and its choices.
TEST(Keys, AreDocumented) {
  std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/frontends/recipe/README.md");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(text.empty());
  text.resize(text.find("## The files"));
  for (const recipe::Key &key : recipe::keys()) {
    if (!key.access.get)
      continue; // not yet
    EXPECT_NE(text.find(key.name), std::string::npos) << key.table << "." << key.name;
    if (key.notYet.empty())
      for (std::string_view choice : key.choices)
        EXPECT_NE(text.find("`" + std::string(choice) + "`"), std::string::npos) << key.name << " = " << choice;
  }
}

TEST(PrintRecipe, ReadsBackAnOptimizerInTheBackwardPass) {
  Recipe recipe = parsed(std::string(smallest) + "[optimizer]\nin_backward = true\nclip_grad_norm = 0\n");
  EXPECT_TRUE(recipe.optimizer.inBackward);
  EXPECT_EQ(parsed(printRecipe(recipe)), recipe);
}

TEST(PrintRecipe, EqualityNoticesEveryKind) {
  Recipe recipe = parsed(smallest), other = recipe;
  other.origin.file = "elsewhere.toml";
  EXPECT_EQ(recipe, other);
  other.optimizer.betas[1] = 0.999;
  EXPECT_NE(recipe, other);
  other = recipe;
  other.objective.parameters.push_back({"clip_low", 0.2});
  EXPECT_NE(recipe, other);
  other = recipe;
  other.model.names["a"] = "b";
  EXPECT_NE(recipe, other);
}

TEST(PrintRecipe, AbsolutePathsMeanTheSameFromAnywhere) {
  Recipe recipe = parsed(smallest, "/data/recipes/one.toml");
  std::string text = printRecipe(recipe, RecipePaths::Absolute);
  EXPECT_NE(text.find("graph = \"/data/recipes/m.onnx\""), std::string::npos) << text;
  EXPECT_EQ(parsed(text, "/elsewhere/recipe.toml").model.graph.resolved, recipe.model.graph.resolved);
  EXPECT_EQ(printRecipe(recipe).find("/data"), std::string::npos);
}

} // namespace
} // namespace graft
