// Every differentiable operator: its gradient, built by autodiff and run by the reference interpreter in float64,
// against central finite differences of its own reference semantics.
#include "dialects/nn/Build.h"
#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "passes/autodiff/Differentiate.h"

#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <random>

using namespace mlir;

namespace graft {
namespace {

struct Case {
  const char *name;
  const char *arguments; ///< "%x: tensor<..>, ..."
  const char *body;      ///< defines %y
  const char *result;    ///< type of %y
  double low = -2, high = 2;
};

std::ostream &operator<<(std::ostream &out, const Case &c) {
  return out << c.name;
}

class Gradient : public testing::TestWithParam<Case> {
protected:
  Gradient() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Random arguments: floats in the case's range, integers 0, 1, 2, booleans.
  SmallVector<Tensor> randomArguments(func::FuncOp function) {
    std::mt19937 random(7);
    SmallVector<Tensor> tensors;
    for (Type type : function.getArgumentTypes()) {
      auto tensor = cast<RankedTensorType>(type);
      Tensor::Shape shape(tensor.getShape());
      if (isa<FloatType>(tensor.getElementType())) {
        std::vector<double> values(tensor.getNumElements());
        std::uniform_real_distribution<double> uniform(GetParam().low, GetParam().high);
        for (double &value : values)
          value = uniform(random);
        tensors.push_back(Tensor::floats(shape, values));
      } else {
        std::vector<int64_t> values(tensor.getNumElements());
        for (int64_t &value : values)
          value = static_cast<int64_t>(random() % (tensor.getElementType().isInteger(1) ? 2 : 3));
        tensors.push_back(Tensor::integers(shape, values));
      }
    }
    return tensors;
  }

  /// Makes the function return sum(y * w) with fixed weights w, followed by its gradients with respect to the float
  /// arguments.
  void appendLossAndGradients(func::FuncOp function, SmallVectorImpl<unsigned> &differentiated) {
    Operation *end = function.getBody().front().getTerminator();
    OpBuilder builder(end);
    nn::Build b(builder, function.getLoc());
    Value y = end->getOperand(0);
    SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, nn::typeOf(y).getRank()));
    Tensor weights = Tensor::floats(Tensor::Shape(nn::shapeOf(y)));
    for (int64_t k = 0; k < weights.size(); ++k)
      weights.f()[k] = std::cos(1.0 + 2.3 * static_cast<double>(k));
    std::vector<APFloat> elements;
    for (double w : weights.f())
      elements.push_back(APFloat(w));
    Value w = arith::ConstantOp::create(builder, function.getLoc(), nn::typeOf(y),
                                        DenseElementsAttr::get(nn::typeOf(y), elements));
    Value loss = b.sum(b.mul(y, w), axes);
    SmallVector<Value> inputs;
    for (BlockArgument argument : function.getArguments())
      if (isa<FloatType>(getElementTypeOrSelf(argument.getType()))) {
        inputs.push_back(argument);
        differentiated.push_back(argument.getArgNumber());
      }
    auto gradients = differentiate(builder, loss, inputs);
    ASSERT_TRUE(succeeded(gradients));
    SmallVector<Value> results{loss};
    for (auto [input, gradient] : llvm::zip(inputs, *gradients)) {
      ASSERT_TRUE(gradient) << "no gradient";
      ASSERT_EQ(gradient.getType(), input.getType());
      results.push_back(gradient);
    }
    end->setOperands(results);
    function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
  }

  MLIRContext context;
};

TEST_P(Gradient, EqualsFiniteDifferences) {
  const Case &c = GetParam();
  std::string text = std::string("func.func @f(") + c.arguments + ") -> " + c.result + " {\n" + c.body +
                     "\nreturn %y : " + c.result + "\n}";
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  ASSERT_TRUE(module) << text;
  auto function = *module->getOps<func::FuncOp>().begin();
  SmallVector<unsigned> differentiated;
  appendLossAndGradients(function, differentiated);
  ASSERT_TRUE(succeeded(module->verify()));

  SmallVector<Tensor> arguments = randomArguments(function);
  auto results = interpret(function, arguments);
  ASSERT_TRUE(succeeded(results));
  // Central differences with h = 1e-5: truncation h^2 ~ 1e-10, cancellation 1e-16 / h ~ 1e-11, times the functions'
  // curvature.
  const double h = 1e-5;
  for (auto [i, argument] : llvm::enumerate(differentiated))
    for (int64_t k = 0; k < arguments[argument].size(); ++k) {
      auto lossAt = [&](double delta) {
        SmallVector<Tensor> moved = arguments;
        moved[argument].f()[k] += delta;
        auto out = interpret(function, moved);
        return succeeded(out) ? (*out)[0].f()[0] : std::nan("");
      };
      double expected = (lossAt(h) - lossAt(-h)) / (2 * h), got = (*results)[i + 1].f()[k];
      EXPECT_NEAR(got, expected, 1e-7 * (1 + std::abs(expected))) << "argument " << argument << ", element " << k;
    }
}

const char *const one = "%x: tensor<2x3xf64>", *const two = "%x: tensor<2x3xf64>, %z: tensor<2x3xf64>",
                  *const out = "tensor<2x3xf64>";

const Case cases[] = {
    {"addf", two, "%y = arith.addf %x, %z : tensor<2x3xf64>", out},
    {"subf", two, "%y = arith.subf %x, %z : tensor<2x3xf64>", out},
    {"mulf", two, "%y = arith.mulf %x, %z : tensor<2x3xf64>", out},
    {"divf", two, "%y = arith.divf %x, %z : tensor<2x3xf64>", out, 0.5, 2},
    {"negf", one, "%y = arith.negf %x : tensor<2x3xf64>", out},
    {"maximumf", two, "%y = arith.maximumf %x, %z : tensor<2x3xf64>", out},
    {"minimumf", two, "%y = arith.minimumf %x, %z : tensor<2x3xf64>", out},
    {"select", "%c: tensor<2x3xi1>, %x: tensor<2x3xf64>, %z: tensor<2x3xf64>",
     "%y = arith.select %c, %x, %z : tensor<2x3xi1>, tensor<2x3xf64>", out},
    {"exp", one, "%y = math.exp %x : tensor<2x3xf64>", out},
    {"log", one, "%y = math.log %x : tensor<2x3xf64>", out, 0.5, 2},
    {"sqrt", one, "%y = math.sqrt %x : tensor<2x3xf64>", out, 0.5, 2},
    {"rsqrt", one, "%y = math.rsqrt %x : tensor<2x3xf64>", out, 0.5, 2},
    {"tanh", one, "%y = math.tanh %x : tensor<2x3xf64>", out},
    {"erf", one, "%y = math.erf %x : tensor<2x3xf64>", out},
    {"sin", one, "%y = math.sin %x : tensor<2x3xf64>", out},
    {"cos", one, "%y = math.cos %x : tensor<2x3xf64>", out},
    {"log1p", one, "%y = math.log1p %x : tensor<2x3xf64>", out, -0.5, 2},
    {"expm1", one, "%y = math.expm1 %x : tensor<2x3xf64>", out},
    {"absf", one, "%y = math.absf %x : tensor<2x3xf64>", out},
    {"powf", two, "%y = math.powf %x, %z : tensor<2x3xf64>", out, 0.5, 2},
    {"powf_square_of_negative", one,
     "%c = arith.constant dense<2.0> : tensor<2x3xf64> %y = math.powf %x, %c : tensor<2x3xf64>", out},
    {"sigmoid", one, "%y = nn.sigmoid %x : tensor<2x3xf64>", out},
    {"softplus", one, "%y = nn.softplus %x : tensor<2x3xf64>", out},
    {"broadcast", "%x: tensor<3xf64>", "%y = nn.broadcast %x dims = [1] : tensor<3xf64> -> tensor<2x3x2xf64>",
     "tensor<2x3x2xf64>"},
    {"broadcast_scalar", "%x: tensor<f64>", "%y = nn.broadcast %x dims = [] : tensor<f64> -> tensor<2x3xf64>", out},
    {"reshape", one, "%y = nn.reshape %x : tensor<2x3xf64> -> tensor<6x1xf64>", "tensor<6x1xf64>"},
    {"transpose", "%x: tensor<2x3x4xf64>",
     "%y = nn.transpose %x perm = [2, 0, 1] : tensor<2x3x4xf64> -> tensor<4x2x3xf64>", "tensor<4x2x3xf64>"},
    {"slice", "%x: tensor<2x7xf64>",
     "%y = nn.slice %x starts = [1, 1] steps = [1, 2] : tensor<2x7xf64> -> tensor<1x3xf64>", "tensor<1x3xf64>"},
    {"pad", "%x: tensor<1x3xf64>", "%y = nn.pad %x starts = [1, 1] steps = [1, 2] : tensor<1x3xf64> -> tensor<2x7xf64>",
     "tensor<2x7xf64>"},
    {"concat", "%x: tensor<2x3xf64>, %z: tensor<2x1xf64>",
     "%y = nn.concat %x, %z axis = 1 : tensor<2x3xf64>, tensor<2x1xf64> -> tensor<2x4xf64>", "tensor<2x4xf64>"},
    {"reduce_sum", "%x: tensor<2x3x4xf64>", "%y = nn.reduce sum %x axes = [0, 2] : tensor<2x3x4xf64> -> tensor<3xf64>",
     "tensor<3xf64>"},
    {"reduce_max", one, "%y = nn.reduce max %x axes = [1] : tensor<2x3xf64> -> tensor<2xf64>", "tensor<2xf64>"},
    {"reduce_min", one, "%y = nn.reduce min %x axes = [0] : tensor<2x3xf64> -> tensor<3xf64>", "tensor<3xf64>"},
    {"cumsum", one, "%y = nn.cumsum %x axis = 1 : tensor<2x3xf64>", out},
    {"cumsum_exclusive_reverse", one, "%y = nn.cumsum %x axis = 1 exclusive reverse : tensor<2x3xf64>", out},
    {"softmax", one, "%y = nn.softmax %x axis = 1 : tensor<2x3xf64> -> tensor<2x3xf64>", out},
    {"softmax_first_axis", one, "%y = nn.softmax %x axis = 0 : tensor<2x3xf64> -> tensor<2x3xf64>", out},
    {"softmax_masked", "%x: tensor<2x3xf64>, %m: tensor<2x3xi1>",
     "%y = nn.softmax %x mask %m axis = 1 : tensor<2x3xf64>, tensor<2x3xi1> -> tensor<2x3xf64>", out},
    {"softmax_nothing_allowed", one,
     "%m = arith.constant dense<[[true, false, true], [false, false, false]]> : tensor<2x3xi1> "
     "%y = nn.softmax %x mask %m axis = 1 : tensor<2x3xf64>, tensor<2x3xi1> -> tensor<2x3xf64>",
     out},
    {"log_softmax", one, "%y = nn.log_softmax %x axis = 1 : tensor<2x3xf64>", out},
    {"contract_linear", "%x: tensor<2x3x4xf64>, %z: tensor<5x4xf64>",
     "%y = nn.contract \"bsk,nk->bsn\" %x, %z : tensor<2x3x4xf64>, tensor<5x4xf64> -> tensor<2x3x5xf64>",
     "tensor<2x3x5xf64>"},
    {"contract_grouped", "%x: tensor<2x2x3x4xf64>, %z: tensor<2x3x4xf64>",
     "%y = nn.contract \"grsd,gtd->tgrs\" %x, %z : tensor<2x2x3x4xf64>, tensor<2x3x4xf64> -> tensor<3x2x2x3xf64>",
     "tensor<3x2x2x3xf64>"},
    {"contract_outer", "%x: tensor<3xf64>, %z: tensor<2xf64>",
     "%y = nn.contract \"a,b->ab\" %x, %z : tensor<3xf64>, tensor<2xf64> -> tensor<3x2xf64>", "tensor<3x2xf64>"},
    {"gather", "%x: tensor<3x4xf64>, %i: tensor<2x5xi64>",
     "%y = nn.gather %x, %i axis = 0 : tensor<3x4xf64>, tensor<2x5xi64> -> tensor<2x5x4xf64>", "tensor<2x5x4xf64>"},
    {"gather_inner_axis", "%x: tensor<2x3xf64>, %i: tensor<4xi64>",
     "%y = nn.gather %x, %i axis = 1 : tensor<2x3xf64>, tensor<4xi64> -> tensor<2x4xf64>", "tensor<2x4xf64>"},
    {"scatter_add", "%x: tensor<2x5x4xf64>, %i: tensor<2x5xi64>",
     "%y = nn.scatter_add %x, %i axis = 0 : tensor<2x5x4xf64>, tensor<2x5xi64> -> tensor<3x4xf64>", "tensor<3x4xf64>"},
    {"gather_elements", "%x: tensor<2x3xf64>, %i: tensor<2x4xi64>",
     "%y = nn.gather_elements %x, %i axis = 1 : tensor<2x3xf64>, tensor<2x4xi64> -> tensor<2x4xf64>",
     "tensor<2x4xf64>"},
    {"scatter_elements_add", "%x: tensor<2x4xf64>, %i: tensor<2x4xi64>",
     "%y = nn.scatter_elements_add %x, %i axis = 1 : tensor<2x4xf64>, tensor<2x4xi64> -> tensor<2x3xf64>", out},
    {"rms_norm", one, "%y = nn.rms_norm %x epsilon = 1.0e-3 : tensor<2x3xf64>", out},
    {"layer_norm", one, "%y = nn.layer_norm %x epsilon = 1.0e-3 : tensor<2x3xf64>", out},
    {"rope", "%x: tensor<2x6xf64>",
     "%c = arith.constant dense<[[0.5, 0.1, 0.2], [0.3, 0.9, 0.4]]> : tensor<2x3xf64> %y = nn.rope %x, %c, %c : "
     "tensor<2x6xf64>, tensor<2x3xf64>, tensor<2x3xf64> -> tensor<2x6xf64>",
     "tensor<2x6xf64>"},
    {"rope_interleaved", "%x: tensor<2x6xf64>",
     "%c = arith.constant dense<[[0.5, 0.1, 0.2], [0.3, 0.9, 0.4]]> : tensor<2x3xf64> %y = nn.rope %x, %c, %c "
     "interleaved : tensor<2x6xf64>, tensor<2x3xf64>, tensor<2x3xf64> -> tensor<2x6xf64>",
     "tensor<2x6xf64>"},
    {"attention_causal_grouped", "%q: tensor<2x4x3x2xf64>, %k: tensor<2x2x3x2xf64>, %v: tensor<2x2x3x5xf64>",
     "%y, %lse = nn.attention %q, %k, %v {scale = 0.7 : f64, causal} : (tensor<2x4x3x2xf64>, tensor<2x2x3x2xf64>, "
     "tensor<2x2x3x5xf64>) -> tensor<2x4x3x5xf64>",
     "tensor<2x4x3x5xf64>"},
    {"attention_everything",
     "%q: tensor<2x2x4x2xf64>, %k: tensor<2x1x4x2xf64>, %v: tensor<2x1x4x2xf64>, %m: tensor<2x4xi1>, %s: "
     "tensor<2x4xi64>, %b: tensor<2x2x4x4xf64>",
     "%y, %lse = nn.attention %q, %k, %v valid %m segments %s bias %b {scale = 0.7 : f64, causal, window = 2 : i64, "
     "softcap "
     "= 1.5 : f64} : "
     "(tensor<2x2x4x2xf64>, tensor<2x1x4x2xf64>, tensor<2x1x4x2xf64>, tensor<2x4xi1>, tensor<2x4xi64>, "
     "tensor<2x2x4x4xf64>) -> tensor<2x2x4x2xf64>",
     "tensor<2x2x4x2xf64>"},
    {"attention_shared_segments", "%q: tensor<2x2x5x2xf64>, %k: tensor<2x1x5x2xf64>, %v: tensor<2x1x5x2xf64>",
     "%s = arith.constant dense<[[[1, 1, 2, 3, 3], [1, 1, 1, 1, 1]], [[4, 5, 6, 6, 4], [4, 4, 4, 5, 9]]]> : "
     "tensor<2x2x5xi64> "
     "%y, %lse = nn.attention %q, %k, %v segments %s {scale = 0.7 : f64, causal} : (tensor<2x2x5x2xf64>, "
     "tensor<2x1x5x2xf64>, tensor<2x1x5x2xf64>, tensor<2x2x5xi64>) -> tensor<2x2x5x2xf64>",
     "tensor<2x2x5x2xf64>"},
    {"attention_shared_segments_bias", "%q: tensor<1x2x4x2xf64>, %s: tensor<1x2x4xi64>, %b: tensor<1x2x4x4xf64>",
     "%y, %lse = nn.attention %q, %q, %q segments %s bias %b {scale = 0.7 : f64} : (tensor<1x2x4x2xf64>, "
     "tensor<1x2x4x2xf64>, tensor<1x2x4x2xf64>, tensor<1x2x4xi64>, tensor<1x2x4x4xf64>) -> tensor<1x2x4x2xf64>",
     "tensor<1x2x4x2xf64>"},
    {"attention_window_both_sides", "%q: tensor<1x1x4x2xf64>, %k: tensor<1x1x5x2xf64>, %v: tensor<1x1x5x2xf64>",
     "%y, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64, window = 2 : i64} : (tensor<1x1x4x2xf64>, "
     "tensor<1x1x5x2xf64>, "
     "tensor<1x1x5x2xf64>) -> tensor<1x1x4x2xf64>",
     "tensor<1x1x4x2xf64>"},
    {"token_logprobs", "%x: tensor<2x3xf64>, %i: tensor<2xi64>",
     "%y, %h, %n = rl.token_logprobs %x, %i : tensor<2x3xf64>, tensor<2xi64> -> tensor<2xf64>", "tensor<2xf64>"},
    {"token_entropy", "%x: tensor<2x3xf64>, %i: tensor<2xi64>",
     "%l, %h, %n = rl.token_logprobs %x, %i : tensor<2x3xf64>, tensor<2xi64> -> tensor<2xf64> %y = arith.addf %l, %h : "
     "tensor<2xf64>",
     "tensor<2xf64>"},
};

INSTANTIATE_TEST_SUITE_P(Operators, Gradient, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace
} // namespace graft
