// The value type of the reference interpreter: a dense row-major tensor, floats in float64, integers and booleans in
// int64.
//
// Copies share the elements (copy on write through data()), so passing tensors by value is cheap. Not thread-safe.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <vector>

namespace graft {

class Tensor {
public:
  using Shape = std::vector<int64_t>;

  Tensor() = default;
  static Tensor floats(Shape shape, double fill = 0.0) { return Tensor(std::move(shape), fill); }
  static Tensor floats(Shape shape, std::vector<double> values);
  static Tensor integers(Shape shape, int64_t fill = 0);
  static Tensor integers(Shape shape, std::vector<int64_t> values);

  const Shape &shape() const { return shape_; }
  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  int64_t size() const { return size_; }
  bool isFloat() const { return floats_ != nullptr; }

  /// Elements in row-major order. The mutable forms make the storage unique first.
  const std::vector<double> &f() const { return *floats_; }
  const std::vector<int64_t> &i() const { return *integers_; }
  std::vector<double> &f() { return unique(floats_); }
  std::vector<int64_t> &i() { return unique(integers_); }

  /// Element k as a double, whatever the kind.
  double at(int64_t k) const { return isFloat() ? (*floats_)[k] : static_cast<double>((*integers_)[k]); }
  /// The same elements under another shape of equal size.
  Tensor reshaped(Shape shape) const;
  /// A tensor of this one's kind, filled with zeros.
  Tensor zeros(Shape shape) const { return isFloat() ? floats(std::move(shape)) : integers(std::move(shape)); }
  /// this[k] = other[j]; both have the same kind. For loops that move elements.
  void copyElement(int64_t k, const Tensor &other, int64_t j) {
    if (isFloat())
      f()[k] = other.f()[j];
    else
      i()[k] = other.i()[j];
  }

private:
  Tensor(Shape shape, double fill);
  template <typename T> static std::vector<T> &unique(std::shared_ptr<std::vector<T>> &p) {
    if (p.use_count() > 1)
      p = std::make_shared<std::vector<T>>(*p);
    return *p;
  }

  Shape shape_;
  int64_t size_ = 0;
  std::shared_ptr<std::vector<double>> floats_;
  std::shared_ptr<std::vector<int64_t>> integers_;
};

/// Row-major strides of a shape, in elements.
Tensor::Shape stridesOf(const Tensor::Shape &shape);

/// Counts through the indices of a shape in row-major order, keeping offsets into several strided tensors up to date:
///   for (Walk walk(shape, {stridesA, stridesB}); !walk.done(); walk.next()) use(walk.offset(0), walk.offset(1));
class Walk {
public:
  Walk(Tensor::Shape shape, std::vector<Tensor::Shape> strides);
  bool done() const { return remaining_ == 0; }
  void next();
  int64_t offset(size_t tensor) const { return offsets_[tensor]; }
  const Tensor::Shape &index() const { return index_; }

private:
  Tensor::Shape shape_, index_;
  std::vector<Tensor::Shape> strides_;
  std::vector<int64_t> offsets_;
  int64_t remaining_ = 1;
};

} // namespace graft
