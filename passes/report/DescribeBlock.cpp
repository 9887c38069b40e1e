#include "passes/report/DescribeBlock.h"

#include "dialects/nn/NNDialect.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;

namespace graft::report {

namespace {

bool isNorm(Operation *op) {
  return isa<nn::RMSNormOp, nn::LayerNormOp>(op);
}

bool isView(Operation *op) {
  return isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::SliceOp, arith::ExtFOp, arith::TruncFOp>(op);
}

/// Number without trailing zeros.
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

/// A matrix product with a parameter.
struct Linear {
  nn::ContractOp op;
  Value input;
  int64_t in = 1, out = 1;

  std::string sizes() const { return std::to_string(in) + ":" + std::to_string(out); }
};

std::optional<Linear> linearOf(Operation *op) {
  auto product = dyn_cast<nn::ContractOp>(op);
  if (!product)
    return std::nullopt;
  bool left = parameterBehind(product.getLhs()), right = parameterBehind(product.getRhs());
  if (left == right)
    return std::nullopt;
  Linear linear{product, left ? product.getRhs() : product.getLhs()};
  auto labels = product.getLabels();
  StringRef weight = labels[left ? 0 : 1];
  for (auto [label, size] : llvm::zip(weight, nn::shapeOf(left ? product.getLhs() : product.getRhs())))
    (labels[2].contains(label) ? linear.out : linear.in) *= size;
  return linear;
}

class Describer {
public:
  explicit Describer(ArrayRef<Operation *> operators)
      : operators_(operators), inside_(operators.begin(), operators.end()) {}

  std::vector<std::string> run() {
    for (Operation *op : operators_)
      if (auto linear = linearOf(op))
        linears_.insert({op, *linear});
    for (Operation *op : operators_)
      if (auto add = dyn_cast<arith::AddFOp>(op); add && isResidual(add))
        residuals_.insert(op);
    for (Operation *op : operators_)
      if (auto attention = dyn_cast<nn::AttentionOp>(op))
        describeAttention(attention);
    for (Operation *op : operators_)
      describe(op);
    return std::move(parts_);
  }

private:
  bool isMixer(Operation *op) const {
    return isa<nn::AttentionOp, nn::SoftmaxOp>(op) || (isa<nn::ContractOp>(op) && !linears_.count(op));
  }
  bool isAnchor(Operation *op) const { return linears_.count(op) || residuals_.contains(op) || isMixer(op); }
  bool isResidual(arith::AddFOp add) const;
  SetVector<Operation *> behind(Value value) const;
  SetVector<Operation *> ahead(Operation *op) const;
  void describeAttention(nn::AttentionOp op);
  void describe(Operation *op);
  void describeLinear(const Linear &linear);

  ArrayRef<Operation *> operators_;
  llvm::SmallPtrSet<Operation *, 32> inside_;
  llvm::DenseMap<Operation *, Linear> linears_;
  llvm::SmallPtrSet<Operation *, 8> residuals_;
  llvm::SmallPtrSet<Operation *, 8> absorbed_; ///< norms that belong to attention
  llvm::DenseMap<Operation *, std::string> attentions_;
  std::vector<std::string> parts_;
};

/// Operators of the block that a value comes from, up to and with the first anchors on each way.
SetVector<Operation *> Describer::behind(Value value) const {
  SetVector<Operation *> found;
  SmallVector<Value> work{value};
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (op && inside_.contains(op) && found.insert(op) && !isAnchor(op))
      work.append(op->operand_begin(), op->operand_end());
  }
  return found;
}

/// Operators of the block that an operator's results go to, up to and with the first anchors on each way.
SetVector<Operation *> Describer::ahead(Operation *op) const {
  SetVector<Operation *> found;
  SmallVector<Operation *> work(op->user_begin(), op->user_end());
  while (!work.empty()) {
    Operation *user = work.pop_back_val();
    if (inside_.contains(user) && found.insert(user) && !isAnchor(user))
      work.append(user->user_begin(), user->user_end());
  }
  return found;
}

/// x + f(x), f with a matrix product of its own: one operand is needed for a product that the other needs.
bool Describer::isResidual(arith::AddFOp add) const {
  auto source = [](Value value) {
    while (Operation *op = value.getDefiningOp())
      if (isView(op) && !isa<nn::SliceOp>(op))
        value = op->getOperand(0);
      else
        break;
    return value;
  };
  auto passes = [&](Value stream, Value branch) {
    SetVector<std::pair<Operation *, int>> seen;
    auto push = [&](Operation *op, bool product) {
      if (op && inside_.contains(op))
        seen.insert({op, product ? 1 : 0});
    };
    push(branch.getDefiningOp(), false);
    for (size_t i = 0; i < seen.size(); ++i) {
      auto [op, behindProduct] = seen[i];
      bool product = behindProduct || isa<nn::ContractOp, nn::AttentionOp>(op);
      for (Value operand : op->getOperands()) {
        if (product && source(operand) == stream)
          return true;
        push(operand.getDefiningOp(), product);
      }
    }
    return false;
  };
  Value left = source(add.getLhs()), right = source(add.getRhs());
  if (parameterBehind(left) || parameterBehind(right))
    return false;
  return passes(left, right) || passes(right, left);
}

void Describer::describeAttention(nn::AttentionOp op) {
  bool rope = false, norm = false;
  for (Value operand : {op.getQuery(), op.getKey()})
    for (Operation *before : behind(operand)) {
      rope |= isa<nn::RopeOp>(before);
      // Only behind a projection: the norm of the block's input lies in front of it.
      if (isNorm(before) &&
          llvm::any_of(behind(before->getOperand(0)), [&](Operation *o) { return linears_.count(o) != 0; })) {
        norm = true;
        absorbed_.insert(before);
      }
    }
  std::string text = "attention(" + std::to_string(nn::shapeOf(op.getQuery())[1]) + ":" +
                     std::to_string(nn::shapeOf(op.getKey())[1]) + " heads x " +
                     std::to_string(nn::shapeOf(op.getQuery())[3]);
  auto add = [&](bool present, const std::string &what) { text += present ? ", " + what : std::string(); };
  add(norm, "qk_norm");
  add(rope, "rope");
  add(op.getCausal(), "causal");
  add(op.getWindow() > 0, "window " + std::to_string(op.getWindow()));
  add(static_cast<bool>(op.getKeyValid()), "key-valid");
  add(static_cast<bool>(op.getSegments()), "segments");
  add(static_cast<bool>(op.getBias()), "bias");
  add(op.getSoftcap().convertToDouble() > 0, "softcap " + number(op.getSoftcap().convertToDouble()));
  attentions_[op] = text + ")";
}

/// The activation among operators between two products.
std::string activationOf(const SetVector<Operation *> &operators) {
  auto has = [&](auto test) { return llvm::any_of(operators, test); };
  if (has([](Operation *op) { return isa<math::ErfOp>(op); }))
    return "gelu";
  if (has([](Operation *op) { return isa<math::TanhOp>(op); }))
    return "gelu_tanh";
  if (has([](Operation *op) { return isa<arith::MaximumFOp, arith::MaxNumFOp, arith::SelectOp>(op); }))
    return "relu";
  if (has([](Operation *op) { return isa<nn::SoftplusOp>(op); }))
    return "softplus";
  for (Operation *op : operators)
    if (auto sigmoid = dyn_cast<nn::SigmoidOp>(op)) {
      bool self = llvm::any_of(sigmoid->getUsers(), [&](Operation *user) {
        return isa<arith::MulFOp>(user) && llvm::is_contained(user->getOperands(), sigmoid.getInput());
      });
      return self ? "silu" : "sigmoid";
    }
  return "";
}

/// Projections of attention belong to it; a product that reads products through element-wise operators ends a
/// feed-forward network; what remains stands alone.
void Describer::describeLinear(const Linear &linear) {
  SetVector<Operation *> after = ahead(linear.op), before = behind(linear.input);
  if (llvm::any_of(after, [&](Operation *op) { return isMixer(op); }) ||
      llvm::any_of(before, [&](Operation *op) { return isMixer(op); }))
    return;
  if (llvm::any_of(after, [&](Operation *op) { return linears_.count(op) != 0; }))
    return;                                  // described with the product that ends the network
  llvm::SmallPtrSet<Operation *, 4> sources; // products, or the slices that cut one in two
  const Linear *up = nullptr;
  for (Operation *op : before) {
    auto found = linears_.find(op);
    if (found == linears_.end())
      continue;
    up = &found->second;
    SmallVector<Operation *> slices;
    for (Operation *user : ahead(op))
      if (isa<nn::SliceOp>(user))
        slices.push_back(user);
    sources.insert(op);
    if (slices.size() > 1)
      sources.insert(slices.begin(), slices.end());
  }
  if (!up)
    return parts_.push_back("linear(" + linear.sizes() + ")");
  std::string activation = activationOf(before);
  parts_.push_back(std::string(sources.size() > 1 ? "gated_" : "") + "mlp(" +
                   (activation.empty() ? "" : activation + ", ") + std::to_string(up->in) + ":" +
                   std::to_string(linear.in) + ":" + std::to_string(linear.out) + ")");
}

void Describer::describe(Operation *op) {
  if (auto linear = linears_.find(op); linear != linears_.end())
    describeLinear(linear->second);
  else if (residuals_.contains(op))
    parts_.push_back("residual");
  else if (isNorm(op) && !absorbed_.contains(op))
    parts_.push_back(isa<nn::RMSNormOp>(op) ? "rms_norm" : "layer_norm");
  else if (isa<nn::AttentionOp>(op))
    parts_.push_back(attentions_[op]);
  else if (isa<nn::SoftmaxOp>(op))
    parts_.push_back("attention in plain operators");
  else if (isa<math::RsqrtOp, math::SqrtOp>(op))
    parts_.push_back("norm in plain operators");
  else if (auto gather = dyn_cast<nn::GatherOp>(op); gather && parameterBehind(gather.getData())) {
    auto shape = nn::shapeOf(gather.getData());
    std::string text = "embedding(";
    for (size_t d = 0; d < shape.size(); ++d)
      text += (d ? "x" : "") + std::to_string(shape[d]);
    parts_.push_back(text + ")");
  }
}

} // namespace

rl::ParameterOp parameterBehind(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto parameter = dyn_cast<rl::ParameterOp>(op))
      return parameter;
    if (!isView(op))
      break;
    value = op->getOperand(0);
  }
  return {};
}

std::vector<std::string> describeBlock(ArrayRef<Operation *> operators) {
  return Describer(operators).run();
}

} // namespace graft::report
