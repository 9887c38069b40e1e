// Reference semantics of the einsum: both inputs are laid out as [batch, free, summed], then three loops.
#include "dialects/nn/FactorRules.h"

using namespace mlir;

namespace graft::nn {

namespace {

struct Labels {
  std::string text;
  Tensor::Shape sizes;
  int64_t count = 1;
  void add(char label, int64_t size) {
    text += label;
    sizes.push_back(size);
    count *= size;
  }
};

/// Strides of a tensor with labels `own` for walking in the order of `wanted`; 0 for labels it lacks.
Tensor::Shape stridesFor(StringRef own, const Tensor::Shape &shape, const std::string &wanted) {
  Tensor::Shape strides = stridesOf(shape), out;
  for (char label : wanted)
    out.push_back(own.contains(label) ? strides[own.find(label)] : 0);
  return out;
}

/// Elements of the tensor in the order of the labels.
std::vector<double> arranged(const Tensor &tensor, StringRef own, std::initializer_list<const Labels *> order) {
  std::string wanted;
  Tensor::Shape shape;
  for (const Labels *labels : order) {
    wanted += labels->text;
    shape.insert(shape.end(), labels->sizes.begin(), labels->sizes.end());
  }
  std::vector<double> out;
  out.reserve(tensor.size());
  for (Walk walk(shape, {stridesFor(own, tensor.shape(), wanted)}); !walk.done(); walk.next())
    out.push_back(tensor.f()[walk.offset(0)]);
  return out;
}

} // namespace

FailureOr<SmallVector<Tensor>> ContractOp::evaluate(ArrayRef<Tensor> in) {
  auto [lhs, rhs, result] = getLabels();
  Labels batch, rows, columns, summed;
  for (auto [d, label] : llvm::enumerate(lhs))
    (!result.contains(label) ? summed : rhs.contains(label) ? batch : rows).add(label, in[0].shape()[d]);
  for (auto [d, label] : llvm::enumerate(rhs))
    if (!lhs.contains(label))
      columns.add(label, in[1].shape()[d]);

  std::vector<double> a = arranged(in[0], lhs, {&batch, &rows, &summed}),
                      b = arranged(in[1], rhs, {&batch, &summed, &columns});
  std::vector<double> c(batch.count * rows.count * columns.count, 0.0);
  for (int64_t z = 0; z < batch.count; ++z)
    for (int64_t m = 0; m < rows.count; ++m) {
      double *out = &c[(z * rows.count + m) * columns.count];
      for (int64_t k = 0; k < summed.count; ++k) {
        double x = a[(z * rows.count + m) * summed.count + k];
        const double *y = &b[(z * summed.count + k) * columns.count];
        for (int64_t n = 0; n < columns.count; ++n)
          out[n] += x * y[n];
      }
    }

  Tensor out = Tensor::floats(Tensor::Shape(shapeOf(getResult())));
  Tensor::Shape shape;
  for (const Labels *labels : {&batch, &rows, &columns})
    shape.insert(shape.end(), labels->sizes.begin(), labels->sizes.end());
  int64_t k = 0;
  for (Walk walk(shape, {stridesFor(result, out.shape(), batch.text + rows.text + columns.text)}); !walk.done();
       walk.next())
    out.f()[walk.offset(0)] = c[k++];
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
