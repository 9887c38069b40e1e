#include "dialects/reference/Tensor.h"

namespace graft {

namespace {
int64_t elements(const Tensor::Shape &shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}
} // namespace

Tensor::Tensor(Shape shape, double fill) : shape_(std::move(shape)), size_(elements(shape_)) {
  floats_ = std::make_shared<std::vector<double>>(size_, fill);
}

Tensor Tensor::floats(Shape shape, std::vector<double> values) {
  Tensor tensor;
  tensor.shape_ = std::move(shape);
  tensor.size_ = elements(tensor.shape_);
  assert(tensor.size_ == static_cast<int64_t>(values.size()));
  tensor.floats_ = std::make_shared<std::vector<double>>(std::move(values));
  return tensor;
}

Tensor Tensor::integers(Shape shape, int64_t fill) {
  int64_t count = elements(shape);
  return integers(std::move(shape), std::vector<int64_t>(count, fill));
}

Tensor Tensor::integers(Shape shape, std::vector<int64_t> values) {
  Tensor tensor;
  tensor.shape_ = std::move(shape);
  tensor.size_ = elements(tensor.shape_);
  assert(tensor.size_ == static_cast<int64_t>(values.size()));
  tensor.integers_ = std::make_shared<std::vector<int64_t>>(std::move(values));
  return tensor;
}

Tensor Tensor::reshaped(Shape shape) const {
  Tensor tensor = *this;
  assert(elements(shape) == size_);
  tensor.shape_ = std::move(shape);
  return tensor;
}

Tensor::Shape stridesOf(const Tensor::Shape &shape) {
  Tensor::Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  return strides;
}

Walk::Walk(Tensor::Shape shape, std::vector<Tensor::Shape> strides)
    : shape_(std::move(shape)), index_(shape_.size(), 0), strides_(std::move(strides)), offsets_(strides_.size(), 0),
      remaining_(elements(shape_)) {}

void Walk::next() {
  --remaining_;
  for (size_t d = shape_.size(); d-- > 0;) {
    ++index_[d];
    for (size_t t = 0; t < strides_.size(); ++t)
      offsets_[t] += strides_[t][d];
    if (index_[d] < shape_[d])
      return;
    for (size_t t = 0; t < strides_.size(); ++t)
      offsets_[t] -= strides_[t][d] * shape_[d];
    index_[d] = 0;
  }
}

} // namespace graft
