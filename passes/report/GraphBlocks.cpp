#include "passes/report/GraphBlocks.h"

#include "dialects/nn/NNDialect.h"
#include "passes/report/DescribeBlock.h"
#include "passes/report/RepeatedBlocks.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <set>
#include <unordered_map>

using namespace mlir;

namespace graft::report {

namespace {

std::string print(Type type) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  type.print(stream);
  return text;
}

/// The name of the first parameter that an operator reads directly or through views.
std::string parameterPath(Operation *op) {
  for (Value operand : op->getOperands())
    if (auto parameter = parameterBehind(operand))
      return parameter.getName().str();
  return "";
}

/// The function's operators as nodes; parameters and constants are no nodes but content of those that read them.
class FunctionNodes {
public:
  explicit FunctionNodes(func::FuncOp function) {
    bool anyTrained =
        llvm::any_of(function.getOps<rl::ParameterOp>(), [](rl::ParameterOp op) { return op.getTrained(); });
    for (Operation &op : function.getBody().front().without_terminator()) {
      if (auto parameter = dyn_cast<rl::ParameterOp>(op); parameter && (parameter.getTrained() || !anyTrained))
        reached_.insert(&op);
      if (!isa<rl::ParameterOp, arith::ConstantOp>(op))
        add(op);
    }
  }

  std::vector<BlockNode> nodes;
  std::vector<Operation *> operators;

private:
  void add(Operation &op) {
    BlockNode node;
    std::string content;
    llvm::raw_string_ostream text(content);
    text << op.getName() << " " << op.getAttrDictionary();
    if (Attribute properties = op.getPropertiesAsAttribute())
      text << " " << properties;
    for (Type type : op.getResultTypes())
      text << " " << print(type);
    node.shared = node.constant = true;
    for (Value operand : op.getOperands()) {
      Operation *source = operand.getDefiningOp();
      node.shared &= !source || !reached_.contains(source);
      auto found = source ? index_.find(source) : index_.end();
      node.constant &= found != index_.end() ? nodes[found->second].constant
                                             : isa_and_nonnull<rl::ParameterOp, arith::ConstantOp>(source);
      if (found != index_.end())
        node.operands.push_back(found->second);
      else
        text << " " << (source ? source->getName().getStringRef() : "argument") << " " << print(operand.getType());
    }
    node.view = isa<nn::ReshapeOp, nn::TransposeOp>(op);
    node.content = content;
    node.path = modulePath(op.getLoc());
    if (node.path.empty())
      node.path = parameterPath(&op);
    node.constant &= !node.shared;
    if (!node.shared)
      reached_.insert(&op);
    index_[&op] = static_cast<int>(nodes.size());
    nodes.push_back(std::move(node));
    operators.push_back(&op);
  }

  llvm::SmallPtrSet<Operation *, 32> reached_; ///< by a weight
  llvm::DenseMap<Operation *, int> index_;
};

/// Node counts of a block, most frequent first: "9 MatMul", "4 Add".
std::vector<std::string> countParts(const onnx::Graph &graph, const std::vector<int> &members) {
  std::map<std::string_view, int64_t> counts;
  for (int member : members)
    ++counts[graph.nodes[member].op];
  std::vector<std::pair<std::string_view, int64_t>> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto &a, const auto &b) { return std::pair(-a.second, a.first) < std::pair(-b.second, b.first); });
  std::vector<std::string> parts;
  for (const auto &[op, count] : sorted)
    parts.push_back(std::to_string(count) + " " + escaped(op, 60));
  return parts;
}

ReportBlock header(const Block &block, std::span<const Block> all) {
  ReportBlock out;
  out.path = blockName(block, all);
  out.indices = block.indices;
  out.operators = static_cast<int64_t>(block.nodes[0].size());
  return out;
}

} // namespace

std::string modulePath(Location location) {
  std::string path;
  location->walk([&](Location inner) {
    auto name = dyn_cast<NameLoc>(inner);
    auto child = name ? dyn_cast<NameLoc>(name.getChildLoc()) : NameLoc();
    if (!child)
      return WalkResult::advance();
    path = child.getName().str();
    return WalkResult::interrupt();
  });
  return path;
}

std::vector<ReportBlock> importedBlocks(func::FuncOp function) {
  FunctionNodes graph(function);
  std::vector<Block> blocks = findRepeatedBlocks(graph.nodes);
  std::vector<ReportBlock> out;
  for (const Block &block : blocks) {
    ReportBlock report = header(block, blocks);
    SmallVector<Operation *> operators;
    std::set<std::string> names;
    for (int node : block.nodes[0]) {
      Operation *op = graph.operators[node];
      operators.push_back(op);
      if (auto cost = dyn_cast<nn::CostOpInterface>(op))
        report.flops += cost.getCost().flops;
      for (Value operand : op->getOperands())
        if (auto parameter = operand.getDefiningOp<rl::ParameterOp>();
            parameter && names.insert(parameter.getName().str()).second)
          report.parameters += nn::typeOf(parameter.getResult()).getNumElements();
    }
    report.parts = describeBlock(operators);
    // Views of weights and the like between blocks say nothing about the architecture.
    if (block.repeats() || !report.parts.empty())
      out.push_back(std::move(report));
  }
  return out;
}

std::vector<ReportBlock> graphBlocks(const onnx::Graph &graph) {
  std::unordered_map<std::string_view, const onnx::Tensor *> weights;
  for (const onnx::Tensor &tensor : graph.initializers)
    if (tensor.dataType == onnx::Float || tensor.dataType == onnx::Float16 || tensor.dataType == onnx::Bfloat16)
      weights.emplace(tensor.name, &tensor);
  std::unordered_map<std::string_view, int> producer;
  std::vector<BlockNode> nodes;
  for (const onnx::Node &node : graph.nodes) {
    BlockNode out;
    out.path = onnx::modulePath(node);
    out.content = std::string(node.domain) + "::" + std::string(node.op);
    out.view = node.op == "Reshape" || node.op == "Transpose" || node.op == "Identity";
    out.shared = out.constant = true;
    for (std::string_view input : node.inputs) {
      if (auto weight = weights.find(input); weight != weights.end()) {
        out.shared = false;
        out.content += " weight";
        for (int64_t size : weight->second->dims)
          out.content += "x" + std::to_string(size);
        if (out.path.empty())
          out.path = std::string(input);
      } else if (auto found = producer.find(input); found != producer.end()) {
        const BlockNode &source = nodes[found->second];
        out.operands.push_back(found->second);
        out.shared &= source.shared;
        out.constant &= source.constant || (source.shared && source.operands.empty()); // or an ONNX constant
      } else {
        out.content += " input";
        out.constant = false;
      }
    }
    out.constant &= !out.shared;
    for (std::string_view name : node.outputs)
      producer.emplace(name, static_cast<int>(nodes.size()));
    nodes.push_back(std::move(out));
  }
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  std::vector<ReportBlock> out;
  for (const Block &block : blocks) {
    out.push_back(header(block, blocks));
    out.back().parts = countParts(graph, block.nodes[0]);
  }
  return out;
}

} // namespace graft::report
