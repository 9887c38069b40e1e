#include "frontends/recipe/Recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace graft {
namespace {

using testing::HasSubstr;

const std::string smallest =
    "[model]\ngraph = \"m.onnx\"\n[objective]\npreset = \"grpo\"\n[batch]\nsequences = 2\ntokens = 8\n";

/// Every fault as "line:column|message|hint"; all must be of class Usage and name the file.
std::vector<std::string> faultsOf(std::string_view text) {
  Result<Recipe> recipe = parseRecipe(text, "r.toml");
  std::vector<std::string> faults;
  for (const Fault &fault : recipe.status().faults()) {
    EXPECT_EQ(fault.code, Code::Usage);
    EXPECT_TRUE(fault.place.starts_with("r.toml")) << fault.place;
    faults.push_back(fault.place.substr(std::min<size_t>(fault.place.size(), 7)) + "|" + fault.message + "|" +
                     fault.hint);
  }
  return faults;
}

TEST(ParseRecipe, SmallestRecipeHasTheDocumentedDefaults) {
  Result<Recipe> recipe = parseRecipe(smallest, "dir/r.toml");
  ASSERT_TRUE(recipe.isOk()) << recipe.status().text();
  EXPECT_EQ(recipe->model.graph.written, "m.onnx");
  EXPECT_EQ(recipe->model.graph.resolved, "dir/m.onnx");
  EXPECT_FALSE(recipe->model.weights.isSet());
  EXPECT_EQ(recipe->objective.preset, "grpo");
  EXPECT_FALSE(recipe->objective.aggregation.has_value());
  EXPECT_FALSE(recipe->objective.kl.has_value());
  EXPECT_EQ(recipe->objective.oldLogprobs, OldLogprobs::Batch);
  EXPECT_EQ(recipe->batch.microBatches, 1);
  EXPECT_EQ(recipe->optimizer.lr, 1e-6);
  EXPECT_EQ(recipe->optimizer.betas, (std::array<double, 2>{0.9, 0.95}));
  EXPECT_EQ(recipe->optimizer.weightDecay, 0.1);
  EXPECT_EQ(recipe->optimizer.clipGradNorm, 1.0);
}

TEST(ParseRecipe, ReadsEveryTable) {
  Result<Recipe> recipe = parseRecipe(R"([model]
graph = "/abs/m.onnx"
weights = "../w.safetensors"
[model.names]
"lm_head.weight" = "model.embed_tokens.weight"
[objective]
preset = "grpo"
advantages = "grpo"
aggregation = "token_mean"
kl = "none"
old_logprobs = "initial"
clip_high = 0.28
clip_low = 1
[batch]
sequences = 16
tokens = 144
[optimizer]
lr = 1.0e-06
decay = "all"
[optimizer.schedule]
kind = "linear"
warmup_steps = 3
)",
                                      "/x/y/r.toml");
  ASSERT_TRUE(recipe.isOk()) << recipe.status().text();
  EXPECT_EQ(recipe->model.graph.resolved, "/abs/m.onnx");
  EXPECT_EQ(recipe->model.weights.resolved, "/x/w.safetensors");
  EXPECT_EQ(recipe->model.names.at("lm_head.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(recipe->objective.advantages, "grpo");
  EXPECT_EQ(recipe->objective.aggregation, Aggregation::TokenMean);
  EXPECT_EQ(recipe->objective.kl, KlKind::None);
  EXPECT_EQ(recipe->objective.oldLogprobs, OldLogprobs::Initial);
  ASSERT_EQ(recipe->objective.parameters.size(), 2u);
  EXPECT_EQ(recipe->objective.parameters[0], (ObjectiveParameter{"clip_high", 0.28}));
  EXPECT_EQ(recipe->objective.parameters[1], (ObjectiveParameter{"clip_low", 1.0}));
  EXPECT_EQ(recipe->optimizer.decay, Decay::All);
  EXPECT_EQ(recipe->optimizer.schedule.kind, ScheduleKind::Linear);
  EXPECT_EQ(recipe->optimizer.schedule.warmupSteps, 3);
}

TEST(ParseRecipe, KnowsWhereEveryKeyStood) {
  Result<Recipe> recipe = parseRecipe(smallest + "[objective.x]\n", "r.toml");
  EXPECT_FALSE(recipe.isOk());
  recipe = parseRecipe(
      "\n[model]\n  graph = \"m\"\n[objective]\npreset = \"a\"\nclip_lw = 1.0\n[batch]\nsequences = 2\ntokens = 8\n",
      "r.toml");
  ASSERT_TRUE(recipe.isOk()) << recipe.status().text();
  EXPECT_EQ(recipe->origin.place("model.graph"), "r.toml:3:3");
  EXPECT_EQ(recipe->origin.place("objective.clip_lw"), "r.toml:6:1");
  EXPECT_EQ(recipe->origin.place("optimizer.lr"), "r.toml");
}

struct Refused {
  const char *name;
  std::string text; ///< after the smallest recipe, which has 7 lines
  const char *fault;
};

std::ostream &operator<<(std::ostream &out, const Refused &refused) {
  return out << refused.name;
}

class RefusedRecipe : public testing::TestWithParam<Refused> {};

TEST_P(RefusedRecipe, SaysWhatWhereAndWhatToDo) {
  std::vector<std::string> faults = faultsOf(smallest + GetParam().text);
  ASSERT_EQ(faults.size(), 1u) << testing::PrintToString(faults);
  EXPECT_THAT(faults[0], HasSubstr(GetParam().fault));
}

const Refused refusedRecipes[] = {
    {"unknown_key", "[optimizer]\nlearning_rate = 1\n",
     "9:1|unknown key 'learning_rate' in [optimizer]|known here: \"name\""},
    {"misspelt_key", "[optimizer]\nclip_gradnorm = 1\n",
     "9:1|unknown key 'clip_gradnorm' in [optimizer]|did you mean 'clip_grad_norm'?"},
    {"misspelt_table", "[optimiser]\nlr = 1\n", "8:2|unknown key 'optimiser'|did you mean 'optimizer'?"},
    {"key_of_another_table", "[precision]\nlr = 1\n",
     "unknown key 'lr' in [precision]|the key 'lr' belongs to [optimizer]"},
    {"text_for_number", "[optimizer]\nlr = \"1e-6\"\n",
     "9:1|optimizer.lr is the string \"1e-6\", expected a number of at least 0|"},
    {"negative", "[optimizer]\nlr = -1e-6\n", "optimizer.lr is -1e-06, expected a number of at least 0"},
    {"not_a_number", "[optimizer]\nlr = nan\n", "optimizer.lr is nan, expected"},
    {"infinite", "[optimizer]\neps = inf\n", "optimizer.eps is inf, expected"},
    {"one_beta", "[optimizer]\nbetas = [0.9]\n",
     "optimizer.betas is an array of 1, expected an array of two numbers from 0 to below 1"},
    {"beta_of_one", "[optimizer]\nbetas = [0.9, 1.0]\n",
     "optimizer.betas is [0.9, 1], expected an array of two numbers from 0 to below 1"},
    {"texts_for_betas", "[optimizer]\nbetas = [\"a\", \"b\"]\n", "optimizer.betas is an array of 2"},
    {"choice", "[optimizer]\nname = \"adam\"\n",
     "optimizer.name is the string \"adam\", expected \"adamw\"|did you mean 'adamw'?"},
    {"choice_of_many", "[optimizer]\ndecay = \"none\"\n", "expected one of \"matrices\", \"all\""},
    {"fraction_for_integer", "[optimizer.schedule]\nwarmup_steps = 1.5\n",
     "optimizer.schedule.warmup_steps is 1.5, expected an integer from 0 to 1000000000"},
    {"value_for_table", "[optimizer]\nschedule = \"cosine\"\n",
     "optimizer.schedule is the string \"cosine\", expected a table: [optimizer.schedule]"},
    {"tables_for_table", "[[mesh]]\ndata = 1\n", "mesh is an array of 1, expected a table: [mesh]"},
    {"date", "[memory]\nbudget = 2020-01-01\n",
     "memory.budget is a date or time, expected a size with a unit in quotes"},
    {"dotted_name", "[model.names]\nlm_head.weight = \"x\"\n",
     "9:1|model.names.lm_head is a table, expected the name of a tensor in the checkpoint|quote names that contain "
     "dots"},
    {"name_of_nothing", "[model.names]\n\"a\" = \"\"\n", "model.names maps 'a' to the string \"\""},
    {"duplicate_key", "[optimizer]\nlr = 1\nlr = 2\n",
     "10:1|given twice: cannot redefine existing integer 'lr'|keep one of the two"},
    {"duplicate_table", "[optimizer]\nlr = 1\n[optimizer]\nlr = 2\n",
     "10:1|given twice: cannot redefine existing table 'optimizer'"},
    {"syntax", "[optimizer\nlr = 1\n", "8:11|not TOML: "},
    {"table_for_integer", "[batch.packed]\n", "8:8|batch.packed is a table, expected an integer from 2 to 1073741824"},
    {"later_precision", "[precision]\ncompute = \"tf32\"\n",
     "9:1|not yet: precision.compute = \"tf32\" is not supported in this version|use \"float32\" or \"bfloat16\""},
    {"later_device", "[target]\ndevice = \"cuda\"\n",
     "not yet: target.device = \"cuda\" is not supported in this version|use \"cpu\""},
    {"later_mesh", "[mesh]\ntensor = 2\n",
     "not yet: mesh.tensor = 2 is not supported in this version|leave it out: one device"},
    {"budget_without_unit", "[memory]\nbudget = \"6\"\n",
     "9:1|memory.budget is the string \"6\", expected a size with a unit in quotes|write a number and a unit: "
     "\"6GiB\""},
    {"budget_as_number", "[memory]\nbudget = 6442450944\n", "memory.budget is 6442450944, expected a size with a unit"},
    {"budget_0", "[memory]\nbudget = \"0GiB\"\n", "memory.budget is the string \"0GiB\", expected a size"},
    {"budget_negative", "[memory]\nbudget = \"-1GiB\"\n", "memory.budget is the string \"-1GiB\", expected a size"},
    {"later_adapter", "[adapter]\ntargets = [\"*.q_proj\"]\n",
     "not yet: adapter.targets is not supported in this version|leave [adapter] out"},
    {"later_groups", "[[optimizer.groups]]\nmatch = \"*.bias\"\n",
     "8:13|not yet: optimizer.groups is not supported in this version"},
    {"later_but_wrong", "[mesh]\ntensor = 0\n", "mesh.tensor is 0, expected an integer from 1 to 65536"},
    {"deep_key",
     "[a" +
         [] {
           std::string s;
           for (int i = 0; i < 200000; ++i)
             s += ".a";
           return s;
         }() +
         "]\n",
     "a key of more than 32 parts"},
};

INSTANTIATE_TEST_SUITE_P(All, RefusedRecipe, testing::ValuesIn(refusedRecipes),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(ParseRecipe, ReportsAllFaultsInTheOrderOfTheFile) {
  std::vector<std::string> faults = faultsOf(R"([optimizer]
lr = "fast"
name = "sgd"
[model]
grahp = "m.onnx"
[batch]
sequences = 0
packed = 1
[objective]
aggregation = "tokenmean"
[precision]
compute = "tf32"
)");
  ASSERT_EQ(faults.size(), 10u) << testing::PrintToString(faults);
  EXPECT_THAT(faults[0], HasSubstr("2:1|optimizer.lr is the string \"fast\""));
  EXPECT_THAT(faults[1], HasSubstr("3:1|optimizer.name"));
  EXPECT_THAT(faults[2], HasSubstr("4:2|[model] has no graph"));
  EXPECT_THAT(faults[3], HasSubstr("5:1|unknown key 'grahp' in [model]|did you mean 'graph'?"));
  EXPECT_THAT(faults[4], HasSubstr("6:2|[batch] has no tokens|add tokens, an integer from 2 to 1048576"));
  EXPECT_THAT(faults[5], HasSubstr("7:1|batch.sequences is 0, expected an integer from 1 to 65536"));
  EXPECT_THAT(faults[6], HasSubstr("8:1|batch.packed is 1, expected an integer from 2"));
  EXPECT_THAT(faults[7], HasSubstr("9:2|[objective] has neither preset nor file"));
  EXPECT_THAT(faults[8], HasSubstr("10:1|objective.aggregation is the string \"tokenmean\""));
  EXPECT_THAT(faults[8], HasSubstr("did you mean 'token_mean'?"));
  EXPECT_THAT(faults[9], HasSubstr("not yet: precision.compute"));
}

TEST(ParseRecipe, ReportsFaultsBesideDuplicates) {
  std::vector<std::string> faults =
      faultsOf(smallest + "[optimizer]\nlr = 1\nlr = 2\neps = -1\n[optimizer]\nlr = 3\nx = 1\n");
  ASSERT_EQ(faults.size(), 3u) << testing::PrintToString(faults);
  EXPECT_THAT(faults[0], HasSubstr("10:1|given twice"));
  EXPECT_THAT(faults[1], HasSubstr("11:1|optimizer.eps is -1"));
  EXPECT_THAT(faults[2], HasSubstr("12:1|given twice"));
}

TEST(ParseRecipe, PresetAndFileExcludeEachOther) {
  std::vector<std::string> faults =
      faultsOf("[model]\ngraph=\"m\"\n[objective]\npreset=\"grpo\"\nfile=\"x\"\n[batch]\nsequences=1\ntokens=2\n");
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0], HasSubstr("5:1|[objective] has both preset and file"));
}

// Tests that all of what needs every gradient at once is refused together, each at the key that has to give way.
TEST(ParseRecipe, AnOptimizerInTheBackwardPassExcludesWhatNeedsAllGradients) {
  std::vector<std::string> faults = faultsOf(smallest + R"(micro_batches = 2
[optimizer]
in_backward = true
clip_grad_norm = 0.5
on_nonfinite = "skip"
)");
  ASSERT_EQ(faults.size(), 3u) << testing::PrintToString(faults);
  const char *both = " and optimizer.in_backward = true (line 10) exclude each other: ";
  EXPECT_THAT(faults[0], HasSubstr(std::string("8:1|batch.micro_batches") + both));
  EXPECT_THAT(faults[0], HasSubstr("|set micro_batches = 1, or in_backward = false"));
  EXPECT_THAT(faults[1], HasSubstr(std::string("11:1|optimizer.clip_grad_norm") + both));
  EXPECT_THAT(faults[1], HasSubstr("|set clip_grad_norm = 0, or in_backward = false"));
  EXPECT_THAT(faults[2], HasSubstr(std::string("12:1|optimizer.on_nonfinite") + both));
  EXPECT_THAT(faults[2], HasSubstr("|set on_nonfinite = \"stop\", or in_backward = false"));

  faults = faultsOf(smallest + "[optimizer]\nin_backward = true\n");
  ASSERT_EQ(faults.size(), 1u) << testing::PrintToString(faults);
  EXPECT_THAT(faults[0], HasSubstr("9:1|optimizer.clip_grad_norm, by default, and optimizer.in_backward = true"));
  EXPECT_TRUE(
      faultsOf(smallest + "micro_batches = \"auto\"\n[optimizer]\nin_backward = true\nclip_grad_norm = 0\n").empty());
  EXPECT_TRUE(
      faultsOf(smallest + "micro_batches = 2\n[optimizer]\nin_backward = false\non_nonfinite = \"skip\"\n").empty());
}

TEST(ParseRecipe, ObjectiveParametersAreNumbersTextsOrBooleans) {
  std::string start = "[model]\ngraph=\"m\"\n[batch]\nsequences=1\ntokens=2\n[objective]\npreset=\"grpo\"\n";
  EXPECT_TRUE(faultsOf(start + "a=1\nb=true\nc=\"x\"\n").empty());
  EXPECT_THAT(faultsOf(start + "clip = [1, 2]\n"),
              testing::ElementsAre(HasSubstr("objective.clip is an array of 2, expected a finite number")));
  EXPECT_THAT(faultsOf(start + "clip = nan\n"), testing::ElementsAre(HasSubstr("objective.clip is nan")));
  EXPECT_THAT(faultsOf(start + "\"old-logprobs\" = 1\n"),
              testing::ElementsAre(HasSubstr("did you mean 'old_logprobs'?")));
}

TEST(ParseRecipe, AnEmptyFileLacksEverything) {
  EXPECT_EQ(faultsOf("").size(), 4u);
  EXPECT_EQ(faultsOf("# only a comment").size(), 4u);
}

TEST(ParseRecipe, AcceptsWhatIsLegalButOdd) {
  const std::string odd[] = {
      "\xEF\xBB\xBF" + smallest, // byte order mark
      R"(model = {graph = "m.onnx"}
batch.sequences = 2
batch."tokens" = 8
objective = {preset = 'grpo'})", // other notations
      smallest + "[mesh]\ndata = 1\n[precision]\ncompute = \"float32\"\n[target]\ndevice = \"cpu\"\n", // the only
                                                                                                       // values
                                                                                                       // there are
                                                                                                       // yet
      smallest + "share_prompts = false\n",
      smallest + "[optimizer]\nlr = 0\nbetas = [0, 0]\nclip_grad_norm = 0\n",
      smallest + "[optimizer]\n[model.names]\n[adapter]\n[memory]\n",                     // empty tables
      smallest + "# .................................................................\n", // dots that are no keys
  };
  for (const std::string &text : odd)
    EXPECT_TRUE(faultsOf(text).empty()) << text << testing::PrintToString(faultsOf(text));
  std::string windows;
  for (char c : smallest)
    windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_TRUE(faultsOf(windows).empty());
}

TEST(ParseRecipe, LimitsWhatItReadsAndWhatItSays) {
  std::vector<std::string> faults = faultsOf(std::string((1 << 20) + 1, '#'));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0], HasSubstr("the limit is 1 MiB"));
  EXPECT_TRUE(faultsOf(smallest + std::string(1 << 19, '#')).empty());
  std::string unknown = smallest;
  for (int i = 0; i < 1000; ++i)
    unknown += "unknown" + std::to_string(i) + " = 1\n";
  faults = faultsOf(unknown);
  ASSERT_EQ(faults.size(), 51u);
  EXPECT_THAT(faults.back(), HasSubstr("and 950 more faults"));
}

TEST(ParseRecipe, EscapesNamesFromTheFile) {
  std::vector<std::string> faults = faultsOf(smallest + "\"\\u001B[31m\" = 1\n");
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0], HasSubstr("unknown key '\\x1B[31m'"));
}

class LoadRecipe : public testing::Test {
protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() / ("graft-recipe-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::filesystem::path folder;
};

TEST_F(LoadRecipe, ReadsAFileAndResolvesBesideIt) {
  std::ofstream(folder / "r.toml") << smallest;
  Result<Recipe> recipe = loadRecipe((folder / "r.toml").string());
  ASSERT_TRUE(recipe.isOk()) << recipe.status().text();
  EXPECT_EQ(recipe->model.graph.resolved, (folder / "m.onnx").string());
}

TEST_F(LoadRecipe, RefusesWhatIsNoRegularFile) {
  EXPECT_THAT(loadRecipe((folder / "absent.toml").string()).status().text(), HasSubstr("No such file"));
  EXPECT_THAT(loadRecipe(folder.string()).status().text(), HasSubstr("it is a folder"));
  EXPECT_THAT(loadRecipe("/dev/zero").status().text(), HasSubstr("it is not a regular file"));
  EXPECT_EQ(loadRecipe(folder.string()).status().exitCode(), 2);
  std::ofstream(folder / "big.toml") << std::string(2 << 20, '\n');
  EXPECT_THAT(loadRecipe((folder / "big.toml").string()).status().text(), HasSubstr("more than 1 MiB"));
}

} // namespace
} // namespace graft
