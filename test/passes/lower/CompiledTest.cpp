// Functions compiled to a program and run by the runtime, against the reference interpreter in float64.
#include "dialects/nn/Build.h"
#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "dialects/rt/RTOps.h"
#include "passes/codegen/Passes.h"
#include "passes/lower/Lower.h"
#include "runtime/exec/Session.h"
#include "runtime/program/ProgramFile.h"

#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <random>

using namespace mlir;

namespace graft {
namespace {

struct Case {
  const char *name;
  const char *signature; ///< "(%x: tensor<..> {rl.name = "x"}, ...) -> (tensor<..> {rl.name = "y"}, ...)"
  const char *body;
  size_t instructions; ///< that lowering may use, 0: any
};

std::ostream &operator<<(std::ostream &out, const Case &c) {
  return out << c.name;
}

class Compiled : public testing::TestWithParam<Case> {
protected:
  Compiled() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    registerCodegenDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Values in [-1, 1] for floats, 0 to 2 for integers, from a fixed seed; float32 numbers, so that both sides see the
  /// same.
  Tensor random(RankedTensorType type) {
    Tensor::Shape shape(type.getShape());
    if (!isa<FloatType>(type.getElementType())) {
      std::vector<int64_t> values(type.getNumElements());
      for (int64_t &value : values)
        value = static_cast<int64_t>(generator() % (type.getElementType().isInteger(1) ? 2 : 3));
      return Tensor::integers(shape, values);
    }
    std::vector<double> values(type.getNumElements());
    for (double &value : values)
      value = static_cast<float>(std::uniform_real_distribution<double>(-1, 1)(generator));
    return Tensor::floats(shape, values);
  }

  MLIRContext context;
  std::mt19937 generator{11};
};

/// Bytes of a tensor as the runtime takes them.
struct Array {
  std::vector<float> floats;
  std::vector<int64_t> integers;
  std::vector<int64_t> shape;
  explicit Array(const Tensor &tensor) : shape(tensor.shape()) {
    if (tensor.isFloat())
      floats.assign(tensor.f().begin(), tensor.f().end());
    else
      integers = tensor.i();
  }
  ConstArray view() const {
    if (integers.empty())
      return {floats.data(), schema::DType::F32, shape};
    return {integers.data(), schema::DType::I64, shape};
  }
};

std::string nameOf(func::FuncOp function, unsigned argument) {
  return function.getArgAttrOfType<StringAttr>(argument, rl::nameAttribute).getValue().str();
}

/// Compares outputs and gradients of a session with the interpreter's results.
void expectClose(const std::vector<float> &got, const Tensor &expected, const std::string &name) {
  // Sums of at most some hundred terms of size about 1 in float32: a few hundred ulps of 1 bound them; exp and tanh add
  // 5 ulps each.
  ASSERT_EQ(static_cast<int64_t>(got.size()), expected.size());
  for (int64_t k = 0; k < expected.size(); ++k)
    ASSERT_NEAR(got[k], expected.f()[k], 3e-5 * (1 + std::abs(expected.f()[k]))) << name << "[" << k << "]";
}

TEST_P(Compiled, EqualsInterpreted) {
  std::string text = std::string("func.func @f") + GetParam().signature + " {\n" + GetParam().body + "\n}";
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  ASSERT_TRUE(module) << text;
  auto function = *module->getOps<func::FuncOp>().begin();

  SmallVector<Tensor> arguments;
  for (Type type : function.getArgumentTypes())
    arguments.push_back(random(cast<RankedTensorType>(type)));
  std::map<std::string, Tensor> weights;
  schema::ProgramT program;
  function.walk([&](rl::ParameterOp op) {
    auto parameter = std::make_unique<schema::ParameterT>();
    parameter->name = op.getName().str();
    parameter->shape.assign(nn::shapeOf(op.getResult()).begin(), nn::shapeOf(op.getResult()).end());
    parameter->trained = op.getTrained();
    program.parameters.push_back(std::move(parameter));
    weights[op.getName().str()] = random(nn::typeOf(op.getResult()));
  });
  auto expected = interpret(function, arguments, [&](StringRef name) { return std::optional(weights[name.str()]); });
  ASSERT_TRUE(succeeded(expected));

  layOutParameters(program);
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
  auto attributes = function.getAllResultAttrs();
  ASSERT_TRUE(succeeded(prepareEntry(function)));
  ASSERT_TRUE(succeeded(lowerEntry(function, program, *kernels)));
  ASSERT_TRUE(succeeded(kernels->verify()));
  auto level = hostCpuLevel();
  ASSERT_TRUE(level.isOk());
  CodegenOptions options;
  options.level = *level;
  Status compiled = compileKernels(*kernels, program, options);
  ASSERT_TRUE(compiled.isOk()) << compiled.text();
  EXPECT_LT(program.constants.size(), 512u) << "constants of one value are computed, not stored";
  if (GetParam().instructions)
    EXPECT_EQ(program.entries[0]->instructions.size(), GetParam().instructions);
  program.target = "cpu";
  auto bytes = serializeProgram(program);
  ASSERT_TRUE(bytes.isOk());
  auto loaded = Program::fromBytes(*bytes);
  ASSERT_TRUE(loaded.isOk()) << loaded.status().text();
  Session::Options threads;
  threads.threads = 2;
  auto session = Session::open(*loaded, threads);
  ASSERT_TRUE(session.isOk()) << session.status().text();
  Status bound = (*session)->bindAll([&](const ParameterInfo &info, std::span<float> values) {
    const Tensor &tensor = weights[info.name];
    std::copy(tensor.f().begin(), tensor.f().end(), values.begin());
    return Status::ok();
  });
  ASSERT_TRUE(bound.isOk()) << bound.text();

  std::vector<Array> arrays(arguments.begin(), arguments.end());
  Inputs inputs;
  for (unsigned i = 0; i < arrays.size(); ++i)
    inputs[nameOf(function, i)] = arrays[i].view();
  std::map<std::string, std::vector<float>> results;
  Outputs outputs;
  for (auto [i, tensor] : llvm::enumerate(*expected)) {
    std::string name = cast<StringAttr>(cast<DictionaryAttr>(attributes[i]).get(rl::nameAttribute)).getValue().str();
    results[name].resize(tensor.size());
    if (!StringRef(name).starts_with("grad."))
      outputs[name] = {results[name].data(), schema::DType::F32, tensor.shape()};
  }
  Status ran = (*session)->run("f", inputs, outputs);
  ASSERT_TRUE(ran.isOk()) << ran.text();
  for (auto [i, tensor] : llvm::enumerate(*expected)) {
    std::string name = cast<StringAttr>(cast<DictionaryAttr>(attributes[i]).get(rl::nameAttribute)).getValue().str();
    if (StringRef(name).starts_with("grad."))
      ASSERT_TRUE((*session)->read(Block::Gradient, name.substr(5), results[name]).isOk());
    expectClose(results[name], tensor, name);
  }
}

const Case cases[] = {
    {"elementwise", R"((%x: tensor<5x7xf32> {rl.name = "x"}) -> (tensor<5x7xf32> {rl.name = "y"}))",
     "%a = math.exp %x : tensor<5x7xf32> %b = arith.mulf %a, %x : tensor<5x7xf32> return %b : tensor<5x7xf32>", 1},
    {"scalar", R"((%x: tensor<f32> {rl.name = "x"}) -> (tensor<f32> {rl.name = "y"}))",
     "%a = math.exp %x : tensor<f32> return %a : tensor<f32>", 1},
    {"sum_of_everything", R"((%x: tensor<3x4x5xf32> {rl.name = "x"}) -> (tensor<f32> {rl.name = "y"}))",
     "%a = nn.reduce sum %x axes = [0, 1, 2] : tensor<3x4x5xf32> -> tensor<f32> return %a : tensor<f32>", 0},
    {"rms_norm_with_weight", R"((%x: tensor<3x4x576xf32> {rl.name = "x"}) -> (tensor<3x4x576xf32> {rl.name = "y"}))",
     R"(%w = rl.parameter "w" : tensor<576xf32> %n = nn.rms_norm %x epsilon = 1.0e-5 : tensor<3x4x576xf32>
        %b = nn.broadcast %w dims = [2] : tensor<576xf32> -> tensor<3x4x576xf32> %y = arith.mulf %n, %b : tensor<3x4x576xf32> return %y : tensor<3x4x576xf32>)",
     1},
    {"layer_norm", R"((%x: tensor<6x33xf32> {rl.name = "x"}) -> (tensor<6x33xf32> {rl.name = "y"}))",
     "%n = nn.layer_norm %x epsilon = 1.0e-5 : tensor<6x33xf32> return %n : tensor<6x33xf32>", 1},
    {"softmax_masked",
     R"((%x: tensor<2x3x17xf32> {rl.name = "x"}, %m: tensor<2x17xi1> {rl.name = "m"}) -> (tensor<2x3x17xf32> {rl.name = "y"}))",
     R"(%b = nn.broadcast %m dims = [0, 2] : tensor<2x17xi1> -> tensor<2x3x17xi1>
        %p = nn.softmax %x mask %b axis = 2 : tensor<2x3x17xf32>, tensor<2x3x17xi1> -> tensor<2x3x17xf32> return %p : tensor<2x3x17xf32>)",
     1},
    {"softmax_other_axis", R"((%x: tensor<2x9x5xf32> {rl.name = "x"}) -> (tensor<2x9x5xf32> {rl.name = "y"}))",
     "%p = nn.softmax %x axis = 1 : tensor<2x9x5xf32> -> tensor<2x9x5xf32> return %p : tensor<2x9x5xf32>", 0},
    {"linear", R"((%x: tensor<2x3x8xf32> {rl.name = "x"}) -> (tensor<2x3x5xf32> {rl.name = "y"}))",
     R"(%w = rl.parameter "w" : tensor<5x8xf32> %y = nn.contract "bsk,nk->bsn" %x, %w : tensor<2x3x8xf32>, tensor<5x8xf32> -> tensor<2x3x5xf32> return %y : tensor<2x3x5xf32>)",
     1},
    {"products_of_all_orders", R"((%a: tensor<2x3x4x5xf32> {rl.name = "a"}, %b: tensor<2x6x4x5xf32> {rl.name = "b"}) ->
        (tensor<2x4x3x6xf32> {rl.name = "scores"}, tensor<6x3xf32> {rl.name = "summed"}, tensor<3x2x6x4xf32> {rl.name = "odd"}))",
     R"(%s = nn.contract "bihd,bjhd->bhij" %a, %b : tensor<2x3x4x5xf32>, tensor<2x6x4x5xf32> -> tensor<2x4x3x6xf32>
        %t = nn.contract "bihd,bjhd->ji" %a, %b : tensor<2x3x4x5xf32>, tensor<2x6x4x5xf32> -> tensor<6x3xf32>
        %o = nn.contract "bihd,bjhd->ibjh" %a, %b : tensor<2x3x4x5xf32>, tensor<2x6x4x5xf32> -> tensor<3x2x6x4xf32>
        return %s, %t, %o : tensor<2x4x3x6xf32>, tensor<6x3xf32>, tensor<3x2x6x4xf32>)",
     0},
    {"attention",
     R"((%q: tensor<2x7x16xf32> {rl.name = "q"}, %k: tensor<2x7x8xf32> {rl.name = "k"}, %v: tensor<2x7x8xf32> {rl.name = "v"}, %m: tensor<2x7xi1> {rl.name = "m"}) -> (tensor<2x7x16xf32> {rl.name = "y"}))",
     R"(%q4 = nn.reshape %q : tensor<2x7x16xf32> -> tensor<2x7x4x4xf32> %k4 = nn.reshape %k : tensor<2x7x8xf32> -> tensor<2x7x2x4xf32> %v4 = nn.reshape %v : tensor<2x7x8xf32> -> tensor<2x7x2x4xf32>
        %qt = nn.transpose %q4 perm = [0, 2, 1, 3] : tensor<2x7x4x4xf32> -> tensor<2x4x7x4xf32>
        %kt = nn.transpose %k4 perm = [0, 2, 1, 3] : tensor<2x7x2x4xf32> -> tensor<2x2x7x4xf32>
        %vt = nn.transpose %v4 perm = [0, 2, 1, 3] : tensor<2x7x2x4xf32> -> tensor<2x2x7x4xf32>
        %o, %lse = nn.attention %qt, %kt, %vt valid %m {scale = 0.5 : f64, causal} : (tensor<2x4x7x4xf32>, tensor<2x2x7x4xf32>, tensor<2x2x7x4xf32>, tensor<2x7xi1>) -> tensor<2x4x7x4xf32>
        %ot = nn.transpose %o perm = [0, 2, 1, 3] : tensor<2x4x7x4xf32> -> tensor<2x7x4x4xf32>
        %y = nn.reshape %ot : tensor<2x7x4x4xf32> -> tensor<2x7x16xf32> return %y : tensor<2x7x16xf32>)",
     0},
    {"attention_gradients_in_a_concatenation",
     R"((%q: tensor<2x2x5x4xf32> {rl.name = "q"}, %g: tensor<2x2x5x4xf32> {rl.name = "g"}) -> (tensor<2x6x5x4xf32> {rl.name = "y"}))",
     R"(%o, %n = nn.attention %q, %q, %q {scale = 0.5 : f64, causal} : (tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>) -> tensor<2x2x5x4xf32>
        %dq, %dk, %dv = nn.attention_gradient %q, %q, %q, %o, %n, %g {scale = 0.5 : f64, causal} : tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>
        %y = nn.concat %dq, %dk, %dv axis = 1 : tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32> -> tensor<2x6x5x4xf32> return %y : tensor<2x6x5x4xf32>)",
     0},
    {"attention_shared_segments",
     R"((%q: tensor<1x4x9x4xf32> {rl.name = "q"}, %k: tensor<1x2x9x4xf32> {rl.name = "k"}, %s: tensor<1x2x9xi64> {rl.name = "s"}) -> (tensor<1x4x9x4xf32> {rl.name = "y"}))",
     R"(%o, %lse = nn.attention %q, %k, %k segments %s {scale = 0.5 : f64, causal} : (tensor<1x4x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9xi64>) -> tensor<1x4x9x4xf32>
        return %o : tensor<1x4x9x4xf32>)",
     0},
    {"attention_gradients_shared_segments",
     R"((%q: tensor<1x2x9x4xf32> {rl.name = "q"}, %g: tensor<1x2x9x4xf32> {rl.name = "g"}, %s: tensor<1x2x9xi64> {rl.name = "s"}) -> (tensor<1x6x9x4xf32> {rl.name = "y"}))",
     R"(%o, %n = nn.attention %q, %q, %q segments %s {scale = 0.5 : f64} : (tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9xi64>) -> tensor<1x2x9x4xf32>
        %dq, %dk, %dv = nn.attention_gradient %q, %q, %q, %o, %n, %g segments %s {scale = 0.5 : f64} : tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32> segments tensor<1x2x9xi64>
        %y = nn.concat %dq, %dk, %dv axis = 1 : tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32> -> tensor<1x6x9x4xf32> return %y : tensor<1x6x9x4xf32>)",
     0},
    {"attention_shared_segments_bias", // decomposed
     R"((%q: tensor<2x2x5x4xf32> {rl.name = "q"}, %s: tensor<2x2x5xi64> {rl.name = "s"}, %b: tensor<2x2x5x5xf32> {rl.name = "b"}) -> (tensor<2x2x5x4xf32> {rl.name = "y"}))",
     R"(%o, %lse = nn.attention %q, %q, %q segments %s bias %b {scale = 0.5 : f64, causal} : (tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5xi64>, tensor<2x2x5x5xf32>) -> tensor<2x2x5x4xf32>
        return %o : tensor<2x2x5x4xf32>)",
     0},
    {"rope",
     R"((%x: tensor<2x3x5x8xf32> {rl.name = "x"}, %c: tensor<5x4xf32> {rl.name = "c"}, %s: tensor<5x4xf32> {rl.name = "s"}) -> (tensor<2x3x5x8xf32> {rl.name = "y"}))",
     R"(%cb = nn.broadcast %c dims = [2, 3] : tensor<5x4xf32> -> tensor<2x3x5x4xf32> %sb = nn.broadcast %s dims = [2, 3] : tensor<5x4xf32> -> tensor<2x3x5x4xf32>
        %y = nn.rope %x, %cb, %sb : tensor<2x3x5x8xf32>, tensor<2x3x5x4xf32>, tensor<2x3x5x4xf32> -> tensor<2x3x5x8xf32> return %y : tensor<2x3x5x8xf32>)",
     0},
    {"rope_interleaved",
     R"((%x: tensor<2x5x8xf32> {rl.name = "x"}, %c: tensor<2x5x4xf32> {rl.name = "c"}, %s: tensor<2x5x4xf32> {rl.name = "s"}) -> (tensor<2x5x8xf32> {rl.name = "y"}))",
     R"(%y = nn.rope %x, %c, %s interleaved : tensor<2x5x8xf32>, tensor<2x5x4xf32>, tensor<2x5x4xf32> -> tensor<2x5x8xf32> return %y : tensor<2x5x8xf32>)",
     0},
    {"rope_interleaved_of_a_view",
     R"((%h: tensor<2x5x16xf32> {rl.name = "h"}, %c: tensor<2x5x4xf32> {rl.name = "c"}, %s: tensor<2x5x4xf32> {rl.name = "s"}) -> (tensor<2x2x5x5xf32> {rl.name = "y"}))",
     R"(%r = nn.reshape %h : tensor<2x5x16xf32> -> tensor<2x5x2x8xf32> %x = nn.transpose %r perm = [0, 2, 1, 3] : tensor<2x5x2x8xf32> -> tensor<2x2x5x8xf32>
        %cb = nn.broadcast %c dims = [0, 2, 3] : tensor<2x5x4xf32> -> tensor<2x2x5x4xf32> %sb = nn.broadcast %s dims = [0, 2, 3] : tensor<2x5x4xf32> -> tensor<2x2x5x4xf32>
        %q = nn.rope %x, %cb, %sb interleaved : tensor<2x2x5x8xf32>, tensor<2x2x5x4xf32>, tensor<2x2x5x4xf32> -> tensor<2x2x5x8xf32>
        %y = nn.contract "bhid,bhjd->bhij" %q, %x : tensor<2x2x5x8xf32>, tensor<2x2x5x8xf32> -> tensor<2x2x5x5xf32> return %y : tensor<2x2x5x5xf32>)",
     0},
    {"token_logprobs",
     R"((%z: tensor<2x3x101xf32> {rl.name = "z"}, %l: tensor<2x3xi64> {rl.name = "l"}) -> (tensor<2x3xf32> {rl.name = "logprobs"}, tensor<2x3xf32> {rl.name = "entropy"}))",
     R"(%p, %h, %n = rl.token_logprobs %z, %l : tensor<2x3x101xf32>, tensor<2x3xi64> -> tensor<2x3xf32> return %p, %h : tensor<2x3xf32>, tensor<2x3xf32>)",
     1},
    {"slices_and_pads",
     R"((%x: tensor<3x10xf32> {rl.name = "x"}) -> (tensor<3x10xf32> {rl.name = "y"}, tensor<3x6xf32> {rl.name = "z"}))",
     R"(%a = nn.slice %x starts = [0, 2] steps = [1, 1] : tensor<3x10xf32> -> tensor<3x6xf32> %b = arith.mulf %a, %a : tensor<3x6xf32>
        %c = nn.pad %b starts = [0, 4] steps = [1, 1] : tensor<3x6xf32> -> tensor<3x10xf32> %d = arith.addf %c, %x : tensor<3x10xf32> return %d, %b : tensor<3x10xf32>, tensor<3x6xf32>)",
     0},
    {"concatenation",
     R"((%x: tensor<3x4xf32> {rl.name = "x"}, %z: tensor<3x2xf32> {rl.name = "z"}) -> (tensor<3x10xf32> {rl.name = "y"}))",
     R"(%a = math.exp %x : tensor<3x4xf32> %y = nn.concat %a, %z, %x axis = 1 : tensor<3x4xf32>, tensor<3x2xf32>, tensor<3x4xf32> -> tensor<3x10xf32> return %y : tensor<3x10xf32>)",
     0},
    {"transposed_elementwise",
     R"((%x: tensor<4x6xf32> {rl.name = "x"}, %z: tensor<6x4xf32> {rl.name = "z"}) -> (tensor<6x4xf32> {rl.name = "y"}))",
     R"(%t = nn.transpose %x perm = [1, 0] : tensor<4x6xf32> -> tensor<6x4xf32> %y = arith.addf %t, %z : tensor<6x4xf32> return %y : tensor<6x4xf32>)",
     0},
    {"returned_views",
     R"((%x: tensor<4x6xf32> {rl.name = "x"}) -> (tensor<6x4xf32> {rl.name = "t"}, tensor<4x6xf32> {rl.name = "same"}, tensor<24xf32> {rl.name = "flat"}))",
     R"(%t = nn.transpose %x perm = [1, 0] : tensor<4x6xf32> -> tensor<6x4xf32> %f = nn.reshape %t : tensor<6x4xf32> -> tensor<24xf32> return %t, %x, %f : tensor<6x4xf32>, tensor<4x6xf32>, tensor<24xf32>)",
     0},
    {"embedding", R"((%i: tensor<2x5xi64> {rl.name = "ids"}) -> (tensor<2x5x8xf32> {rl.name = "y"}))",
     R"(%w = rl.parameter "w" : tensor<3x8xf32> %y = nn.gather %w, %i axis = 0 : tensor<3x8xf32>, tensor<2x5xi64> -> tensor<2x5x8xf32> return %y : tensor<2x5x8xf32>)",
     1},
    {"column_sums",
     R"((%x: tensor<12x300x40xf32> {rl.name = "x"}) -> (tensor<40xf32> {rl.name = "all"}, tensor<12x40xf32> {rl.name = "inner"}, tensor<300x40xf32> {rl.name = "outer"}))",
     R"(%a = nn.reduce sum %x axes = [0, 1] : tensor<12x300x40xf32> -> tensor<40xf32> %b = nn.reduce sum %x axes = [1] : tensor<12x300x40xf32> -> tensor<12x40xf32>
        %c = nn.reduce sum %x axes = [0] : tensor<12x300x40xf32> -> tensor<300x40xf32> return %a, %b, %c : tensor<40xf32>, tensor<12x40xf32>, tensor<300x40xf32>)",
     0},
    {"column_max",
     R"((%x: tensor<3x5x4xf32> {rl.name = "x"}) -> (tensor<4xf32> {rl.name = "y"}, tensor<5x4xf32> {rl.name = "z"}))",
     R"(%a = nn.reduce max %x axes = [0, 1] : tensor<3x5x4xf32> -> tensor<4xf32> %b = nn.reduce min %x axes = [0] : tensor<3x5x4xf32> -> tensor<5x4xf32> return %a, %b : tensor<4xf32>, tensor<5x4xf32>)",
     0},
    {"tied_gradient",
     R"((%i: tensor<2x5xi64> {rl.name = "ids"}, %h: tensor<2x5x8xf32> {rl.name = "h"}, %g: tensor<2x5x3xf32> {rl.name = "g"}) -> (tensor<3x8xf32> {rl.name = "grad.w"}))",
     R"(%w = rl.parameter "w" trained : tensor<3x8xf32> %a = nn.contract "bsv,bsk->vk" %g, %h : tensor<2x5x3xf32>, tensor<2x5x8xf32> -> tensor<3x8xf32>
        %b = nn.scatter_add %h, %i axis = 0 : tensor<2x5x8xf32>, tensor<2x5xi64> -> tensor<3x8xf32> %s = arith.addf %a, %b : tensor<3x8xf32> return %s : tensor<3x8xf32>)",
     2},
    {"norm_gradients",
     R"((%x: tensor<4x70x48xf32> {rl.name = "x"}, %g: tensor<4x70x48xf32> {rl.name = "g"}) -> (tensor<48xf32> {rl.name = "grad.w"}, tensor<4x70x48xf32> {rl.name = "dx"}))",
     R"(%w = rl.parameter "w" trained : tensor<48xf32> %b = nn.broadcast %w dims = [2] : tensor<48xf32> -> tensor<4x70x48xf32>
        %n = nn.rms_norm %x epsilon = 1.0e-5 : tensor<4x70x48xf32> %gn = arith.mulf %g, %n : tensor<4x70x48xf32> %dw = nn.reduce sum %gn axes = [0, 1] : tensor<4x70x48xf32> -> tensor<48xf32>
        %gb = arith.mulf %g, %b : tensor<4x70x48xf32> return %dw, %gb : tensor<48xf32>, tensor<4x70x48xf32>)",
     0},
    {"cumulative_sum",
     R"((%x: tensor<3x6xf32> {rl.name = "x"}) -> (tensor<3x6xf32> {rl.name = "y"}, tensor<3x6xf32> {rl.name = "z"}))",
     R"(%a = nn.cumsum %x axis = 1 : tensor<3x6xf32> %b = nn.cumsum %x axis = 0 exclusive reverse : tensor<3x6xf32> return %a, %b : tensor<3x6xf32>, tensor<3x6xf32>)",
     0},
    {"boolean_gather",
     R"((%m: tensor<2x3xi1> {rl.name = "m"}, %x: tensor<4xf32> {rl.name = "x"}) -> (tensor<4xf32> {rl.name = "y"}))",
     R"(%f = nn.reshape %m : tensor<2x3xi1> -> tensor<6xi1> %i = arith.constant dense<[5, 0, 2, 1]> : tensor<4xi64> %g = nn.gather %f, %i axis = 0 : tensor<6xi1>, tensor<4xi64> -> tensor<4xi1>
        %z = arith.constant dense<0.0> : tensor<4xf32> %y = arith.select %g, %x, %z : tensor<4xi1>, tensor<4xf32> return %y : tensor<4xf32>)",
     0},
    {"sigmoid_softplus",
     R"((%x: tensor<4x9xf32> {rl.name = "x"}) -> (tensor<4x9xf32> {rl.name = "y"}, tensor<4x9xf32> {rl.name = "z"}))",
     R"(%a = nn.sigmoid %x : tensor<4x9xf32> %b = nn.softplus %x : tensor<4x9xf32> return %a, %b : tensor<4x9xf32>, tensor<4x9xf32>)",
     1},
    {"objective_reductions",
     R"((%x: tensor<4x5xf32> {rl.name = "x"}, %m: tensor<4x5xi1> {rl.name = "m"}, %g: tensor<4xi64> {rl.name = "g"}, %r: tensor<4xi1> {rl.name = "r"}) ->
        (tensor<4xf32> {rl.name = "sum"}, tensor<4xf32> {rl.name = "max"}, tensor<4xf32> {rl.name = "group"}, tensor<f32> {rl.name = "batch"}, tensor<4x5xf32> {rl.name = "tokens"}))",
     R"(%s = rl.sequence_reduce sum %x mask %m : tensor<4x5xf32>, tensor<4x5xi1> -> tensor<4xf32> %t = rl.sequence_reduce max %x mask %m : tensor<4x5xf32>, tensor<4x5xi1> -> tensor<4xf32>
        %u = rl.group_reduce max %s ids %g rows %r : tensor<4xf32>, tensor<4xi64>, tensor<4xi1> -> tensor<4xf32> %v = rl.batch_reduce sum %s rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f32>
        %w = rl.sequence_broadcast %s mask %m : tensor<4xf32>, tensor<4x5xi1> -> tensor<4x5xf32> return %s, %t, %u, %v, %w : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<f32>, tensor<4x5xf32>)",
     0},
    // Chunks of four of ten rows; the sums add up where they lie.
    {"token_loop",
     R"((%x: tensor<2x5x8xf32> {rl.name = "x"}, %y: tensor<2x5xi64> {rl.name = "l"}, %m: tensor<2x5xi1> {rl.name = "m"}) ->
        (tensor<2x5xf32> {rl.name = "logprobs"}, tensor<2x5x8xf32> {rl.name = "scaled"}, tensor<33x8xf32> {rl.name = "sum"}, tensor<33x8xf32> {rl.name = "grad.w"}))",
     R"(%w = rl.parameter "w" trained : tensor<33x8xf32>
        %p, %dx, %s, %g = rl.token_loop %m : tensor<2x5xi1> tokens(%x, %y : tensor<2x5x8xf32>, tensor<2x5xi64>) whole(%w : tensor<33x8xf32>) chunk = 4
            gives(tensor<2x5xf32>, tensor<2x5x8xf32>) sums(tensor<33x8xf32>, tensor<33x8xf32>) {
        ^bb0(%xc: tensor<4x1x8xf32>, %yc: tensor<4x1xi64>, %wc: tensor<33x8xf32>):
          %z = nn.contract "amk,nk->amn" %xc, %wc {rl.rows = "a"} : tensor<4x1x8xf32>, tensor<33x8xf32> -> tensor<4x1x33xf32>
          %l, %h, %n = rl.token_logprobs %z, %yc : tensor<4x1x33xf32>, tensor<4x1xi64> -> tensor<4x1xf32>
          %e = math.exp %z : tensor<4x1x33xf32>
          %dxc = nn.contract "amn,nk->amk" %e, %wc {rl.rows = "a"} : tensor<4x1x33xf32>, tensor<33x8xf32> -> tensor<4x1x8xf32>
          %sc = nn.contract "amn,amk->nk" %e, %xc {rl.rows = "a"} : tensor<4x1x33xf32>, tensor<4x1x8xf32> -> tensor<33x8xf32>
          %gc = nn.contract "amk,amn->nk" %xc, %z {rl.rows = "a"} : tensor<4x1x8xf32>, tensor<4x1x33xf32> -> tensor<33x8xf32>
          rl.yield %l, %dxc, %sc, %gc : tensor<4x1xf32>, tensor<4x1x8xf32>, tensor<33x8xf32>, tensor<33x8xf32>
        }
        %half = arith.constant dense<0.5> : tensor<33x8xf32> %t = arith.mulf %s, %half : tensor<33x8xf32>
        return %p, %dx, %t, %g : tensor<2x5xf32>, tensor<2x5x8xf32>, tensor<33x8xf32>, tensor<33x8xf32>)",
     0},
    // What is left of x after its mean is subtracted, and added again: single precision would give 0.
    {"doubles",
     R"((%x: tensor<3x8xf32> {rl.name = "x"}) -> (tensor<3x8xf32> {rl.name = "y"}, tensor<3x8xf32> {rl.name = "z"}))",
     R"(%d = arith.extf %x : tensor<3x8xf32> to tensor<3x8xf64> %t = arith.constant dense<1.0e-12> : tensor<3x8xf64>
        %s = nn.reduce sum %d axes = [1] : tensor<3x8xf64> -> tensor<3xf64> %b = nn.broadcast %s dims = [0] : tensor<3xf64> -> tensor<3x8xf64>
        %e = arith.mulf %d, %t : tensor<3x8xf64> %m = arith.addf %b, %e : tensor<3x8xf64> %r = arith.subf %m, %b : tensor<3x8xf64>
        %q = arith.divf %r, %t : tensor<3x8xf64> %h = arith.constant dense<0.001> : tensor<3x8xf64> %y64 = arith.mulf %q, %h : tensor<3x8xf64> %y = arith.truncf %y64 : tensor<3x8xf64> to tensor<3x8xf32>
        %f = math.exp %d : tensor<3x8xf64> %z = arith.truncf %f : tensor<3x8xf64> to tensor<3x8xf32>
        return %y, %z : tensor<3x8xf32>, tensor<3x8xf32>)",
     1},
    {"constant_result",
     R"((%x: tensor<4xf32> {rl.name = "x"}) -> (tensor<4xf32> {rl.name = "y"}, tensor<2xf32> {rl.name = "z"}))", R"(%a = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32> %b = arith.addf %a, %x : tensor<4xf32> %c = arith.constant dense<5.0> : tensor<2xf32> return %b, %c : tensor<4xf32>, tensor<2xf32>)",
     0},
};

class InPlace : public Compiled {
protected:
  /// The arena of a function from x [64, 256] to y, of the same shape.
  int64_t arenaOf(const std::string &body) {
    std::string type = "tensor<64x256xf32>";
    std::string text = "func.func @f(%x: " + type + " {rl.name = \"x\"}) -> (" + type + " {rl.name = \"y\"}) {\n" +
                       body + "\nreturn %y : " + type + "\n}";
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    schema::ProgramT program;
    OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
    auto function = *module->getOps<func::FuncOp>().begin();
    EXPECT_TRUE(succeeded(prepareEntry(function)) && succeeded(lowerEntry(function, program, *kernels)));
    return program.arena_bytes;
  }
  static constexpr int64_t array = 64 * 256 * 4;
};

// Tests that a chain of kernels and products needs two arrays: kernels write where they read.
TEST_F(InPlace, KernelsTakeTheMemoryOfTheirOperand) {
  EXPECT_EQ(arenaOf(R"(%w = arith.constant dense<0.5> : tensor<256x256xf32>
    %a = nn.contract "ik,kj->ij" %x, %w : tensor<64x256xf32>, tensor<256x256xf32> -> tensor<64x256xf32>
    %b = nn.softmax %a axis = 1 : tensor<64x256xf32> -> tensor<64x256xf32>
    %y = nn.contract "ik,kj->ij" %b, %w : tensor<64x256xf32>, tensor<256x256xf32> -> tensor<64x256xf32>)"),
            2 * array);
}

// Tests that an operand that a later kernel reads is kept.
TEST_F(InPlace, OperandsThatAreReadAgainStay) {
  EXPECT_EQ(arenaOf(R"(%w = arith.constant dense<0.5> : tensor<256x256xf32>
    %a = nn.contract "ik,kj->ij" %x, %w : tensor<64x256xf32>, tensor<256x256xf32> -> tensor<64x256xf32>
    %b = nn.softmax %a axis = 1 : tensor<64x256xf32> -> tensor<64x256xf32>
    %c = nn.contract "ik,kj->ij" %b, %w : tensor<64x256xf32>, tensor<256x256xf32> -> tensor<64x256xf32>
    %y = arith.addf %a, %c : tensor<64x256xf32>)"),
            3 * array);
}

// Tests that a row program does not write, in an earlier sweep, what a later one reads.
TEST_F(InPlace, OperandsOfALaterSweepStay) {
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(R"(
    rt.row_program @f rows [4] columns 8 (%a: !rt.access<f32, [8], 1>, %e: !rt.access<f32, [8], 1>, %d: !rt.access<f32, [8], 1>,
        %turned: !rt.access<f32, [16], 1>, %sum: !rt.access<f32, [8], 1, accumulate>) {
      rt.sweep (%x = %a : !rt.access<f32, [8], 1>) writes (%e : !rt.access<f32, [8], 1>) { rt.yield %x : f32 }
      rt.sweep (%x = %a : !rt.access<f32, [8], 1>) writes (%d : !rt.access<f32, [8], 1>, %turned : !rt.access<f32, [16], 1>,
          %sum : !rt.access<f32, [8], 1, accumulate>) { rt.yield %x, %x, %x : f32, f32, f32 }
    })",
                                                             &context);
  auto program = *module->getOps<rt::RowProgramOp>().begin();
  EXPECT_EQ(program.getInPlacePairs(), (SmallVector<std::pair<unsigned, unsigned>>{{0, 2}}));
}

// Tests that a narrower row may lie where a row is read if both begin at one address and columns run in order.
TEST_F(InPlace, NarrowRowsTakeTheBeginningOfWideOnes) {
  auto pairsOf = [&](StringRef module, StringRef to, StringRef body = "") {
    std::string text = (module + R"({ rt.row_program @f rows [4] columns 8 (%a: !rt.access<f32, [8], 1>, %d: )" + to +
                        ") { rt.sweep (%x = %a : !rt.access<f32, [8], 1>) writes (%d : " + to +
                        ") { rt.yield %x : f32 }" + body + "} }")
                           .str();
    OwningOpRef<ModuleOp> parsed = parseSourceString<ModuleOp>(text, &context);
    return (*parsed->getOps<rt::RowProgramOp>().begin()).getInPlacePairs().size();
  };
  StringRef plain = "module", narrow = "!rt.access<bf16, [16], 1, align 4>";
  EXPECT_EQ(pairsOf(plain, narrow), 1u);
  EXPECT_EQ(pairsOf("module attributes {rt.any_order}", narrow), 0u);
  EXPECT_EQ(pairsOf(plain, "!rt.access<bf16, [8], 1, align 4>"), 0u); // row 1 begins in the middle of row 0
  EXPECT_EQ(pairsOf(plain, "!rt.access<bf16, [16], 1, align 64>"), 0u);
  EXPECT_EQ(pairsOf(plain, narrow, R"(
    %s = rt.sweep (%x = %a : !rt.access<f32, [8], 1>) reduces (add : f32) { rt.yield %x : f32 })"),
            0u);
}

INSTANTIATE_TEST_SUITE_P(Functions, Compiled, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace
} // namespace graft
