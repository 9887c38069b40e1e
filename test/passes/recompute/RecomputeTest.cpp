// Plans on whole training steps: the same numbers whatever is computed again, the points that a modern block is known
// to have, clones that stay clones, budgets that hold.
#include "passes/recompute/EntryPlanner.h"

#include "dialects/rl/RLDialect.h"
#include "dialects/rt/RTDialect.h"
#include "passes/autodiff/EntryPoints.h"
#include "passes/loss/FuseHead.h"
#include "passes/lower/Lower.h"
#include "passes/recompute/DoesNotFit.h"
#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

#include <random>

using namespace mlir;

namespace graft {
namespace {

using testing::HasSubstr;

/// A modern decoder: RMS norm, grouped queries, gated network. Sizes in elements.
struct Decoder {
  int64_t layers = 2, rows = 2, width = 6, heads = 2, groups = 1, headSize = 4, inner = 12, vocabulary = 7;

  int64_t hidden() const { return heads * headSize; }
  std::string text() const;
};

std::string type(std::initializer_list<int64_t> shape, const char *element = "f32") {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + element + ">";
}

/// Writes the function as SSA text: every method adds lines and returns the name of a value.
class Writer {
public:
  explicit Writer(const Decoder &decoder) : d_(decoder) {}
  std::string body;

  std::string parameter(const std::string &name, std::initializer_list<int64_t> shape) {
    return line("rl.parameter \"" + name + "\" trained : " + type(shape));
  }
  std::string linear(const std::string &x, const std::string &name, int64_t in, int64_t out) {
    std::string w = parameter(name, {out, in});
    return line("nn.contract \"bsk,ok->bso\" " + x + ", " + w + " : " + hidden(in) + ", " + type({out, in}) + " -> " +
                hidden(out));
  }
  std::string norm(const std::string &x, const std::string &name) {
    std::string w = parameter(name, {d_.hidden()}), t = hidden(d_.hidden());
    std::string n = line("nn.rms_norm " + x + " epsilon = 1.0e-5 : " + t);
    std::string b = line("nn.broadcast " + w + " dims = [2] : " + type({d_.hidden()}) + " -> " + t);
    return line("arith.mulf " + n + ", " + b + " : " + t);
  }
  std::string heads(const std::string &x, int64_t count) {
    std::string r = line("nn.reshape " + x + " : " + hidden(count * d_.headSize) + " -> " +
                         type({d_.rows, d_.width, count, d_.headSize}));
    return line("nn.transpose " + r + " perm = [0, 2, 1, 3] : " + type({d_.rows, d_.width, count, d_.headSize}) +
                " -> " + headType(count));
  }
  std::string attention(const std::string &x, const std::string &layer) {
    int64_t h = d_.hidden(), small = d_.groups * d_.headSize;
    std::string q = heads(linear(x, layer + "q", h, h), d_.heads),
                k = heads(linear(x, layer + "k", h, small), d_.groups),
                v = heads(linear(x, layer + "v", h, small), d_.groups);
    std::string o =
        line("nn.attention " + q + ", " + k + ", " + v + " {scale = 0.5 : f64, causal} : (" + headType(d_.heads) +
                 ", " + headType(d_.groups) + ", " + headType(d_.groups) + ") -> " + headType(d_.heads),
             ":2") +
        "#0";
    std::string t = line("nn.transpose " + o + " perm = [0, 2, 1, 3] : " + headType(d_.heads) + " -> " +
                         type({d_.rows, d_.width, d_.heads, d_.headSize}));
    return linear(
        line("nn.reshape " + t + " : " + type({d_.rows, d_.width, d_.heads, d_.headSize}) + " -> " + hidden(h)),
        layer + "o", h, h);
  }
  std::string network(const std::string &x, const std::string &layer) {
    int64_t h = d_.hidden(), f = d_.inner;
    std::string gate = linear(x, layer + "gate", h, f), up = linear(x, layer + "up", h, f), t = hidden(f);
    std::string s = line("nn.sigmoid " + gate + " : " + t), a = line("arith.mulf " + gate + ", " + s + " : " + t);
    return linear(line("arith.mulf " + a + ", " + up + " : " + t), layer + "down", f, h);
  }
  std::string add(const std::string &a, const std::string &b) {
    return line("arith.addf " + a + ", " + b + " : " + hidden(d_.hidden()));
  }
  std::string line(const std::string &operation, const char *results = "") {
    std::string name = "%v" + std::to_string(count_++);
    body += "  " + name + results + " = " + operation + "\n";
    return name;
  }
  std::string hidden(int64_t size) const { return type({d_.rows, d_.width, size}); }
  std::string headType(int64_t count) const { return type({d_.rows, count, d_.width, d_.headSize}); }

private:
  const Decoder &d_;
  int count_ = 0;
};

std::string Decoder::text() const {
  Writer w(*this);
  std::string table = w.parameter("embedding", {vocabulary, hidden()});
  std::string x = w.line("nn.gather " + table + ", %ids axis = 0 : " + type({vocabulary, hidden()}) + ", " +
                         type({rows, width}, "i64") + " -> " + w.hidden(hidden()));
  for (int64_t i = 0; i < layers; ++i) {
    std::string layer = "layer" + std::to_string(i) + ".";
    x = w.add(x, w.attention(w.norm(x, layer + "norm1"), layer));
    x = w.add(x, w.network(w.norm(x, layer + "norm2"), layer));
  }
  std::string logits = w.linear(w.norm(x, "norm"), "head", hidden(), vocabulary);
  return "func.func @forward(%ids: " + type({rows, width}, "i64") + " {rl.name = \"input_ids\"}) -> " +
         w.hidden(vocabulary) + " {\n" + w.body + "  return " + logits + " : " + w.hidden(vocabulary) + "\n}";
}

class Recompute : public testing::Test, protected Reference {
protected:
  Recompute() { context.loadDialect<rt::RTDialect>(); } // plans are measured by lowering them

  /// @accumulate with gradients and a fused head, ready for a plan.
  func::FuncOp build(const Decoder &decoder, const char *objective = "grpo") {
    module = parseSourceString<ModuleOp>(decoder.text(), &context);
    EXPECT_TRUE(module) << errors << decoder.text();
    auto loss = objective::load(objective, objective::Role::Objective, {});
    EXPECT_TRUE(loss.isOk());
    EntryPointOptions options;
    options.loss = &*loss;
    auto entries = buildEntryPoints(*module, options);
    EXPECT_TRUE(succeeded(entries) && succeeded(addGradients(*module, *entries))) << errors;
    auto function = module->lookupSymbol<func::FuncOp>("accumulate");
    HeadOptions head;
    head.chunkRows = 4;
    EXPECT_TRUE(fuseHead(function, head).fused);
    EXPECT_TRUE(succeeded(prepareEntry(function))) << errors;
    others = {schema::ProgramT(), ModuleOp::create(UnknownLoc::get(&context))};
    for (const std::string &name : entries->trained) {
      auto parameter = std::make_unique<schema::ParameterT>();
      parameter->name = name;
      parameter->trained = true;
      function.walk([&](rl::ParameterOp op) {
        if (op.getName() == name)
          parameter->shape.assign(nn::shapeOf(op.getResult()).begin(), nn::shapeOf(op.getResult()).end());
      });
      others.program.parameters.push_back(std::move(parameter));
    }
    layOutParameters(others.program);
    return function;
  }

  /// All results in float64.
  std::vector<Tensor> run(func::FuncOp function) {
    auto array = [&](const std::string &name, const Tensor::Shape &shape, bool integers) {
      std::mt19937 random(static_cast<unsigned>(std::hash<std::string>()(name)));
      Tensor tensor = integers ? Tensor::integers(shape) : Tensor::floats(shape);
      if (integers)
        for (int64_t &value : tensor.i())
          value = static_cast<int64_t>(random() % (name == "input_ids" ? 7 : 2));
      else
        for (double &value : tensor.f())
          value = name.starts_with("denominator") ? 5 : std::uniform_real_distribution<double>(-1, 1)(random);
      return tensor;
    };
    SmallVector<Tensor> values;
    for (BlockArgument argument : function.getArguments()) {
      auto type = nn::typeOf(argument);
      values.push_back(array(argumentName(function, argument.getArgNumber()).str(), Tensor::Shape(type.getShape()),
                             type.getElementType().isInteger()));
    }
    std::map<std::string, Tensor> parameters;
    function.walk([&](rl::ParameterOp op) {
      parameters[op.getName().str()] = array(op.getName().str(), Tensor::Shape(nn::shapeOf(op.getResult())), false);
    });
    auto outputs =
        interpret(function, values, [&](StringRef name) { return std::optional(parameters.at(name.str())); });
    EXPECT_TRUE(succeeded(outputs)) << errors;
    return succeeded(outputs) ? std::vector<Tensor>(outputs->begin(), outputs->end()) : std::vector<Tensor>();
  }

  static int64_t
  countAgain(func::FuncOp function, llvm::function_ref<bool(Operation *)> counts = [](Operation *) { return true; }) {
    int64_t count = 0;
    function.walk([&](Operation *op) {
      auto phase = op->getAttrOfType<StringAttr>(rl::phaseAttribute);
      count += phase && phase == rl::recomputePhase && counts(op);
    });
    return count;
  }

  LoweredEntries others;
};

/// The plans of all corners and some between.
std::vector<recompute::Plan> plansOf(const recompute::Tradeoff &tradeoff) {
  std::vector<recompute::Plan> plans = tradeoff.corners();
  int64_t most = plans.front().bytes, least = plans.back().bytes;
  for (int i = 1; i < 8; ++i)
    plans.push_back(tradeoff.within(least + (most - least) * i / 8));
  return plans;
}

TEST_F(Recompute, EveryPlanGivesTheSameNumbers) {
  for (const char *objective : {"grpo", "gspo"}) { // one loop over the head, and two
    func::FuncOp function = build({}, objective);
    std::vector<Tensor> expected = run(function);
    RecomputeGraph graph(function);
    recompute::Tradeoff tradeoff(graph.problem());
    ASSERT_GT(tradeoff.corners().size(), 3u);
    for (const recompute::Plan &plan : plansOf(tradeoff)) {
      OwningOpRef<func::FuncOp> clone = function.clone();
      graph.apply(*clone, plan);
      ASSERT_TRUE(succeeded(clone->verify())) << errors;
      std::vector<Tensor> got = run(*clone);
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i)
        for (int64_t k = 0; k < got[i].size(); ++k)
          ASSERT_EQ(got[i].f()[k], expected[i].f()[k])
              << resultName(function, static_cast<unsigned>(i)).str() << " with " << plan.bytes << " bytes kept";
    }
  }
}

TEST_F(Recompute, TheBackwardPassReadsOnlyWhatIsKept) {
  func::FuncOp function = build({});
  RecomputeGraph graph(function);
  recompute::Tradeoff tradeoff(graph.problem());
  for (const recompute::Plan &plan : plansOf(tradeoff)) {
    OwningOpRef<func::FuncOp> clone = function.clone();
    graph.apply(*clone, plan);
    int64_t bytes = 0;
    llvm::DenseSet<Value> seen;
    for (Operation &op : clone->getBody().front())
      if (op.hasAttr(rl::phaseAttribute))
        for (Value operand : op.getOperands())
          if (Operation *producer = operand.getDefiningOp(); producer && !producer->hasAttr(rl::phaseAttribute) &&
                                                             !isa<rl::ParameterOp, arith::ConstantOp>(producer) &&
                                                             seen.insert(operand).second)
            bytes +=
                nn::typeOf(operand).getNumElements() * std::max(1u, nn::typeOf(operand).getElementTypeBitWidth() / 8);
    EXPECT_EQ(bytes, plan.bytes);
  }
}

TEST_F(Recompute, ClonesAreNotMergedAgain) {
  func::FuncOp function = build({});
  RecomputeGraph graph(function);
  recompute::Tradeoff tradeoff(graph.problem());
  graph.apply(function, tradeoff.corners().back());
  int64_t clones = countAgain(function);
  EXPECT_GT(clones, 20);
  ASSERT_TRUE(succeeded(prepareEntry(function)));
  EXPECT_EQ(countAgain(function), clones);
}

/// Per token and hidden element, as in the literature: 12 + 4g + 6f bytes of two-byte elements are 6 + 2g + 3f
/// elements; g = 1/4, f = 3.5.
TEST_F(Recompute, FindsThePointsOfAModernBlock) {
  Decoder decoder{
      .layers = 12, .rows = 2, .width = 1024, .heads = 8, .groups = 2, .headSize = 64, .inner = 1792, .vocabulary = 11};
  func::FuncOp function = build(decoder);
  RecomputeGraph graph(function);
  recompute::Tradeoff tradeoff(graph.problem());
  const int64_t unit = decoder.rows * decoder.width * decoder.hidden() * 4;
  // Row statistics, the log-sum-exp of attention and what lies before the first and after the last block are small
  // change.
  auto within = [&](double perLayer) {
    return tradeoff.within(
        static_cast<int64_t>((perLayer * 1.02 * static_cast<double>(decoder.layers) + 3) * static_cast<double>(unit)));
  };
  int64_t products = 0, gatedProducts = 0;
  auto again = [&](const recompute::Plan &plan) {
    OwningOpRef<func::FuncOp> clone = function.clone();
    graph.apply(*clone, plan);
    products = countAgain(*clone, [](Operation *op) { return isa<nn::ContractOp>(op); });
    gatedProducts = countAgain(*clone, [&](Operation *op) {
      return isa<nn::ContractOp>(op) && nn::shapeOf(op->getResult(0)).back() == decoder.inner;
    });
    int64_t attention = countAgain(*clone, [](Operation *op) { return isa<nn::AttentionOp>(op); });
    return attention;
  };
  recompute::Plan plan = within(17);
  EXPECT_EQ(plan, tradeoff.corners().front());
  EXPECT_EQ(again(plan), 0);
  EXPECT_EQ(products, 0);
  EXPECT_GT(plan.bytes, 16 * decoder.layers * unit);
  // Without norm outputs and the gated product: nothing that is a product or attention.
  EXPECT_EQ(again(within(11.5)), 0);
  EXPECT_EQ(products, 0);
  // Gate and up products, and no others.
  EXPECT_EQ(again(within(4.5)), 0);
  EXPECT_EQ(products, gatedProducts);
  EXPECT_LE(gatedProducts, 2 * decoder.layers);
  EXPECT_GE(gatedProducts, 2 * decoder.layers - 2);
  // Block inputs alone, and what little fits beside them: all but the last product of each block, and attention.
  EXPECT_GE(again(within(1)), decoder.layers - 3);
  EXPECT_GE(products, 6 * decoder.layers - 6);
  EXPECT_LE(products, 6 * decoder.layers);
}

TEST_F(Recompute, BudgetsHold) {
  func::FuncOp function = build({.layers = 4, .width = 16, .heads = 4, .headSize = 16, .inner = 96});
  EntryPlanner planner(function, others, false);
  auto smallest = planner.smallest(), fastest = planner.fastest();
  ASSERT_TRUE(succeeded(smallest) && succeeded(fastest));
  ASSERT_LT(smallest->peak, fastest->peak);
  int64_t last = INT64_MAX;
  for (int i = 0; i <= 20; ++i) {
    int64_t budget = smallest->peak + (fastest->peak - smallest->peak) * i / 20;
    auto fitting = planner.fit(budget);
    ASSERT_TRUE(succeeded(fitting) && fitting->has_value());
    EXPECT_LE((*fitting)->peak, budget);
    EXPECT_LE((*fitting)->plan.cost, last); // more memory never makes a step slower
    last = (*fitting)->plan.cost;
    auto program = planner.lowered((*fitting)->plan);
    ASSERT_TRUE(succeeded(program));
    EXPECT_EQ(deviceBytes(program->program), (*fitting)->peak);
  }
  EXPECT_EQ(last, fastest->plan.cost);
  auto none = planner.fit(smallest->peak - 1);
  ASSERT_TRUE(succeeded(none));
  EXPECT_FALSE(none->has_value());
  auto program = planner.lowered(smallest->plan);
  ASSERT_TRUE(succeeded(program));
  Status status = doesNotFit(*smallest, program->program, 1000);
  EXPECT_EQ(status.exitCode(), 4);
  EXPECT_THAT(status.text(), HasSubstr(std::to_string(smallest->peak)));
  EXPECT_THAT(status.text(), HasSubstr("the largest tensors at the arena's peak"));
}

TEST_F(Recompute, InstructionsKnowTheirPhase) {
  func::FuncOp function = build({});
  EntryPlanner planner(function, others, true);
  auto smallest = planner.smallest(), fastest = planner.fastest();
  ASSERT_TRUE(succeeded(smallest) && succeeded(fastest));
  auto products = [&](const recompute::Plan &plan, schema::Phase phase) {
    auto program = planner.lowered(plan);
    EXPECT_EQ(program->program.entries.size(), 2u); // accumulate, accumulate_more
    return llvm::count_if(program->program.entries[0]->instructions, [&](const auto &instruction) {
      return instruction->phase == phase && instruction->operation.AsGemm();
    });
  };
  constexpr int blocks = 2, head = 3; // a fused head belongs to the forward pass
  EXPECT_EQ(products(fastest->plan, schema::Phase::Forward), 7 * blocks + head);
  EXPECT_EQ(products(fastest->plan, schema::Phase::Backward), 2 * 7 * blocks);
  EXPECT_EQ(products(fastest->plan, schema::Phase::Recompute), 0);
  EXPECT_EQ(products(smallest->plan, schema::Phase::Forward), 7 * blocks + head);
  EXPECT_GT(products(smallest->plan, schema::Phase::Recompute), 0);
}

} // namespace
} // namespace graft
