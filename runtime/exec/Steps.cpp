#include "runtime/exec/Steps.h"

#include "kernels/copy/copy.h"
#include "runtime/exec/HostCalls.h"
#include "runtime/program/Layout.h"

#include "kernels/gather/gather.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace graft {

namespace {
// Below this many bytes, waking the others takes longer than the work.
constexpr int64_t serialBytes = 16 * 1024;

/// Calls f(worker, begin, end) on every worker with its share, or on worker 0 with everything when the work is small.
template <typename F> void splitByWorker(Workers &workers, int64_t units, int64_t grain, bool small, const F &f) {
  if (units == 0)
    return;
  if (small || workers.pool.workers() == 1)
    return f(0, int64_t(0), units);
  workers.pool.parallel([&](int worker) {
    Share share = shareOf(units, worker, workers.pool.workers(), grain);
    if (share.begin < share.end)
      f(worker, share.begin, share.end);
  });
}
template <typename F> void split(Workers &workers, int64_t units, int64_t grain, bool small, const F &f) {
  splitByWorker(workers, units, grain, small, [&](int, int64_t begin, int64_t end) { f(begin, end); });
}

template <typename T> std::vector<T> toVector(const flatbuffers::Vector<T> *values) {
  return values ? std::vector<T>(values->begin(), values->end()) : std::vector<T>();
}

class KernelStep final : public Step {
public:
  /// `shared`: rows of a chunk are its units, so that a part of a chunk is a part of them.
  KernelStep(KernelFunction function, std::vector<void *> operands, int64_t units, bool small, bool shared)
      : function_(function), operands_(std::move(operands)), units_(units), small_(small), shared_(shared) {}
  Status run(Workers &workers) const override {
    int64_t units = shared_ ? units_ / workers.pass.parts * workers.pass.part : units_;
    split(workers, units, 1, small_, [&](int64_t begin, int64_t end) { function_(operands_.data(), begin, end); });
    return Status::ok();
  }

private:
  KernelFunction function_;
  std::vector<void *> operands_;
  int64_t units_;
  bool small_, shared_;
};

/// The places of a packed row that a product did not compute, since nobody uses them: gradients are zero there; values
/// are those of the first place, which is in use, so that whatever is computed of them is as sound as that.
struct UnusedPlaces {
  int64_t places, placeStride, width, widthStride; ///< of the product, in elements
  bool zeros;

  void fill(float *product, int64_t begin, int64_t end) const {
    for (int64_t place = begin; place < end; ++place)
      for (int64_t k = 0; k < width; ++k)
        product[place * placeStride + k * widthStride] = zeros ? 0.0f : product[k * widthStride];
  }
};

class GemmStep final : public Step {
public:
  /// One plan, or one for each number of parts of a chunk; `more` are those of the passes after the first, if they
  /// differ.
  GemmStep(std::vector<kernels::Gemm> plans, std::vector<kernels::Gemm> more, const void *a, const void *b, float *c,
           std::optional<UnusedPlaces> unused)
      : plans_(std::move(plans)), more_(std::move(more)), a_(a), b_(b), c_(c), unused_(unused) {}
  Status run(Workers &workers) const override {
    const auto &plans = workers.pass.first || more_.empty() ? plans_ : more_;
    const kernels::Gemm &gemm = plans[plans.size() == 1 ? 0 : static_cast<size_t>(workers.pass.part) - 1];
    std::atomic<bool> good = true;
    workers.pool.parallel([&](int worker) {
      for (int part = worker; part < gemm.parts(); part += workers.pool.workers())
        if (!gemm.run(part, a_, b_, c_, workers.gemm[static_cast<size_t>(worker)].get()))
          good = false;
    });
    if (unused_ && workers.pass.part < workers.pass.parts) {
      int64_t begin = unused_->places / workers.pass.parts * workers.pass.part;
      split(workers, unused_->places - begin, 1, false,
            [&](int64_t from, int64_t to) { unused_->fill(c_, begin + from, begin + to); });
    }
    return good ? Status::ok() : Status::error(Code::Failed, "the matrix library reported a failure");
  }

private:
  std::vector<kernels::Gemm> plans_, more_;
  const void *a_, *b_;
  float *c_;
  std::optional<UnusedPlaces> unused_;
};

class CopyStep final : public Step {
public:
  CopyStep(kernels::StridedCopy copy, void *dst, const void *src, bool small)
      : copy_(std::move(copy)), dst_(dst), src_(src), small_(small) {}
  Status run(Workers &workers) const override {
    split(workers, copy_.units(), 1, small_, [&](int64_t begin, int64_t end) { copy_.run(dst_, src_, begin, end); });
    return Status::ok();
  }

private:
  kernels::StridedCopy copy_;
  void *dst_;
  const void *src_;
  bool small_;
};

class FillStep final : public Step {
public:
  FillStep(uint8_t *dst, int64_t bytes, std::span<const uint8_t> pattern) : dst_(dst), bytes_(bytes) {
    for (size_t i = 0; i < sizeof pattern_; ++i)
      pattern_[i] = pattern[i % pattern.size()];
    isZero_ = std::all_of(pattern.begin(), pattern.end(), [](uint8_t byte) { return byte == 0; });
  }
  Status run(Workers &workers) const override {
    split(workers, bytes_, sizeof pattern_, bytes_ < serialBytes, [&](int64_t begin, int64_t end) {
      if (isZero_)
        std::memset(dst_ + begin, 0, static_cast<size_t>(end - begin));
      else
        for (int64_t at = begin; at < end; at += int64_t(sizeof pattern_)) // shares begin at a multiple of the pattern
          std::memcpy(dst_ + at, pattern_, static_cast<size_t>(std::min<int64_t>(sizeof pattern_, end - at)));
    });
    return Status::ok();
  }

private:
  uint8_t *dst_;
  int64_t bytes_;
  uint8_t pattern_[64];
  bool isZero_;
};

class MoveRowsStep final : public Step {
public:
  MoveRowsStep(const int64_t *indices, const uint8_t *from, uint8_t *to, const schema::MoveRows &move)
      : indices_(indices), from_(from), to_(to), count_(move.count()), width_(move.width()), scatter_(move.scatter()) {}
  Status run(Workers &workers) const override {
    auto width = static_cast<size_t>(width_);
    split(workers, count_, 1, count_ * width_ < serialBytes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t row = indices_[i];
        if (row < 0 && !scatter_)
          std::memset(to_ + i * width_, 0, width);
        else if (row >= 0)
          std::memcpy(to_ + (scatter_ ? row : i) * width_, from_ + (scatter_ ? i : row) * width_, width);
      }
    });
    return Status::ok();
  }

private:
  const int64_t *indices_;
  const uint8_t *from_;
  uint8_t *to_;
  int64_t count_, width_;
  bool scatter_;
};

class HostStep final : public Step {
public:
  HostStep(const HostKernel &kernel, std::vector<int64_t> ints, std::vector<float> floats, std::vector<void *> operands,
           bool small)
      : kernel_(kernel), ints_(std::move(ints)), floats_(std::move(floats)), operands_(std::move(operands)),
        small_(small) {}
  Status run(Workers &workers) const override {
    constexpr int64_t none = std::numeric_limits<int64_t>::max();
    std::atomic<int64_t> firstBad = none;
    splitByWorker(workers, kernel_.units(ints_), kernel_.grain, small_, [&](int worker, int64_t begin, int64_t end) {
      void *scratch = kernel_.scratch ? workers.scratch[static_cast<size_t>(worker)].data() : nullptr;
      int64_t bad = kernel_.run(arguments(scratch), begin, end);
      for (int64_t seen = firstBad; bad >= 0 && bad < seen && !firstBad.compare_exchange_weak(seen, bad);)
        ;
    });
    if (firstBad == none)
      return Status::ok();
    return Status::error(Code::Range, std::string(kernel_.name) + ": index " +
                                          std::to_string(kernels::indexAt(operands_[0], ints_[4], firstBad)) +
                                          " at position " + std::to_string(firstBad) + " is not in [0, " +
                                          std::to_string(kernel_.limit(ints_)) + ")");
  }
  int64_t scratchBytes() const override {
    bool needsSome = kernel_.scratch && kernel_.units(ints_) > 0;
    return needsSome ? kernel_.scratch(arguments(nullptr)) : 0;
  }

private:
  HostArguments arguments(void *scratch) const { return {ints_, floats_, operands_.data(), scratch}; }

  const HostKernel &kernel_;
  std::vector<int64_t> ints_;
  std::vector<float> floats_;
  std::vector<void *> operands_;
  bool small_;
};

/// The optimizer's step of a parameter, if the loss is finite.
class UpdateStep final : public Step {
public:
  UpdateStep(Optimizer &optimizer, unsigned parameter, const float *gradient, const float *loss)
      : optimizer_(optimizer), parameter_(parameter), gradient_(gradient), loss_(loss) {}
  Status run(Workers &workers) const override {
    if (!workers.updates)
      return Status::ok();
    if (!std::isfinite(*loss_))
      return Status::error(Code::Failed, "the loss is not finite");
    return optimizer_.update(workers.pool, parameter_, gradient_);
  }

private:
  Optimizer &optimizer_;
  unsigned parameter_;
  const float *gradient_, *loss_;
};

/// Makes the step of each kind of instruction.
class Maker {
public:
  Maker(const StepMaker &maker, const schema::Entry &entry, const schema::Instruction &instruction,
        const schema::RowLoop *loop)
      : maker_(maker), entry_(entry), chunkSize_(instruction.chunk_size()),
        parts_(loop ? loop->parts() : entry.parts()), inLoop_(loop),
        backward_(instruction.phase() == schema::Phase::Backward) {}

  Result<std::unique_ptr<Step>> kernel(const schema::KernelCall &call) const {
    std::string_view symbol = maker_.program.kernels()->Get(call.kernel())->symbol()->string_view();
    KernelFunction function = maker_.object->find(symbol);
    if (!function)
      return Status::error(Code::Verify, "object code has no kernel '" + escaped(symbol) + "'");
    int64_t bytes = 0;
    for (unsigned i = 0; call.operands() && i < call.operands()->size(); ++i)
      bytes += std::min(call.operands()->Get(i)->extent(), serialBytes);
    return own(std::make_unique<KernelStep>(function, addresses(call.operands()), call.units(), bytes < serialBytes,
                                            chunkSize_ == schema::ChunkSize::Units));
  }

  Result<std::unique_ptr<Step>> gemm(const schema::Gemm &gemm) const {
    kernels::GemmShape shape;
    shape.batch = toVector(gemm.batch());
    shape.m = gemm.m(), shape.n = gemm.n(), shape.k = gemm.k();
    shape.a = matrix(*gemm.a()), shape.b = matrix(*gemm.b()), shape.c = matrix(*gemm.c());
    shape.alpha = gemm.alpha();
    shape.accumulate = gemm.accumulate();
    shape.type = gemm.dtype() == schema::DType::BF16 ? kernels::MatrixType::BF16 : kernels::MatrixType::F32;
    auto at = [&](const schema::MatrixOperand &operand) {
      return reinterpret_cast<float *>(maker_.address(operand.buffer(), operand.byte_offset()));
    };
    std::vector<kernels::Gemm> plans = plansOf(shape), more;
    if (gemm.after_first()) {
      shape.accumulate = true;
      more = plansOf(shape);
    }
    return own(std::make_unique<GemmStep>(std::move(plans), std::move(more), at(*gemm.a()), at(*gemm.b()),
                                          at(*gemm.c()), unusedPlaces(gemm)));
  }

  /// What a product leaves undone of a packed row.
  std::optional<UnusedPlaces> unusedPlaces(const schema::Gemm &gemm) const {
    const schema::MatrixOperand &c = *gemm.c();
    bool cut = !inLoop_ && !gemm.accumulate() && parts_ > 1;
    if (cut && chunkSize_ == schema::ChunkSize::M)
      return UnusedPlaces{gemm.m(), c.row_stride(), gemm.n(), c.column_stride(), backward_};
    if (cut && chunkSize_ == schema::ChunkSize::N)
      return UnusedPlaces{gemm.n(), c.column_stride(), gemm.m(), c.row_stride(), backward_};
    return std::nullopt;
  }

  Result<std::unique_ptr<Step>> copy(const schema::Copy &copy) const {
    kernels::StridedCopy plan(byteSize(copy.dtype()), toVector(copy.shape()), toVector(copy.dst_strides()),
                              toVector(copy.src_strides()));
    bool small = copy.dst()->extent() < serialBytes;
    return own(std::make_unique<CopyStep>(std::move(plan), address(*copy.dst()), address(*copy.src()), small));
  }

  Result<std::unique_ptr<Step>> fill(const schema::Fill &fill) const {
    std::span<const uint8_t> pattern(fill.pattern()->data(), fill.pattern()->size());
    return own(std::make_unique<FillStep>(address(*fill.dst()), fill.dst()->extent(), pattern));
  }

  Result<std::unique_ptr<Step>> moveRows(const schema::MoveRows &move) const {
    return own(std::make_unique<MoveRowsStep>(reinterpret_cast<const int64_t *>(address(*move.indices())),
                                              address(*move.from()), address(*move.to()), move));
  }

  Result<std::unique_ptr<Step>> host(const schema::HostCall &call) const {
    const HostKernel *kernel = findHostKernel(call.function()->string_view());
    if (!kernel)
      return Status::error(Code::Internal,
                           "host function '" + call.function()->str() + "' is declared but not defined");
    int64_t bytes = call.operands()->Get(1)->extent();
    return own(std::make_unique<HostStep>(*kernel, toVector(call.ints()), toVector(call.floats()),
                                          addresses(call.operands()), bytes < serialBytes));
  }

  Result<std::unique_ptr<Step>> update(const schema::Update &update) const {
    const float *loss = nullptr; // there is one: verified
    for (const schema::Binding *output : *entry_.outputs())
      if (output->name()->string_view() == "loss")
        loss = reinterpret_cast<const float *>(maker_.address(output->buffer(), 0));
    return own(std::make_unique<UpdateStep>(*maker_.optimizer, update.parameter(),
                                            reinterpret_cast<const float *>(address(*update.gradient())), loss));
  }

private:
  /// Plans for 1, 2, ... parts of a chunk, or the only one.
  std::vector<kernels::Gemm> plansOf(const kernels::GemmShape &whole) const {
    std::vector<kernels::Gemm> plans;
    for (int64_t part = chunkSize_ == schema::ChunkSize::None ? parts_ : 1; part <= parts_; ++part) {
      kernels::GemmShape shape = whole;
      if (int64_t *size = chunkSize_ == schema::ChunkSize::M   ? &shape.m
                          : chunkSize_ == schema::ChunkSize::N ? &shape.n
                          : chunkSize_ == schema::ChunkSize::K ? &shape.k
                                                               : nullptr)
        *size = *size / parts_ * part;
      plans.push_back(maker_.planner.plan(shape));
    }
    return plans;
  }
  static Result<std::unique_ptr<Step>> own(std::unique_ptr<Step> step) { return step; }
  uint8_t *address(const schema::Operand &operand) const { return maker_.address(operand); }
  std::vector<void *> addresses(const flatbuffers::Vector<const schema::Operand *> *operands) const {
    std::vector<void *> pointers;
    for (unsigned i = 0; operands && i < operands->size(); ++i)
      pointers.push_back(address(*operands->Get(i)));
    return pointers;
  }
  static kernels::Matrix matrix(const schema::MatrixOperand &operand) {
    return {toVector(operand.batch_strides()), operand.row_stride(), operand.column_stride()};
  }

  const StepMaker &maker_;
  const schema::Entry &entry_;
  schema::ChunkSize chunkSize_;
  int64_t parts_;
  bool inLoop_, backward_;
};
} // namespace

void LoopStep::begin(Pass &pass) {
  next_ = 0;
  pass.first = true;
  select(pass);
}

bool LoopStep::next(Pass &pass) {
  if (std::find_if(mask_ + next_, mask_ + rows_, [](uint8_t selected) { return selected != 0; }) == mask_ + rows_) {
    return false;
  }
  pass.first = false;
  select(pass);
  return true;
}

void LoopStep::select(Pass &pass) {
  int64_t count = 0;
  for (; next_ < rows_ && count < chunk_; ++next_)
    if (mask_[next_])
      indices_[count++] = next_;
  std::fill(indices_ + count, indices_ + chunk_, int64_t(-1));
  int64_t grain = chunk_ / parts_;
  pass.parts = parts_;
  pass.part = std::max<int64_t>(1, (count + grain - 1) / grain);
}

uint8_t *Blocks::address(const schema::Buffer &buffer) const {
  uint8_t *const storages[] = {arena,     parameters, gradients, // in the order of schema::Storage
                               constants, gradients,  working};
  return storages[static_cast<size_t>(buffer.storage())] + buffer.offset();
}

LoopStep StepMaker::makeLoop(const schema::RowLoop &loop) const {
  return {address(*loop.mask()), reinterpret_cast<int64_t *>(address(*loop.indices())), loop};
}

Result<std::unique_ptr<Step>> StepMaker::make(const schema::Entry &entry, const schema::Instruction &instruction,
                                              const schema::RowLoop *loop) const {
  Maker maker(*this, entry, instruction, loop);
  switch (instruction.operation_type()) {
  case schema::Operation::KernelCall:
    return maker.kernel(*instruction.operation_as_KernelCall());
  case schema::Operation::Gemm:
    return maker.gemm(*instruction.operation_as_Gemm());
  case schema::Operation::Copy:
    return maker.copy(*instruction.operation_as_Copy());
  case schema::Operation::Fill:
    return maker.fill(*instruction.operation_as_Fill());
  case schema::Operation::HostCall:
    return maker.host(*instruction.operation_as_HostCall());
  case schema::Operation::MoveRows:
    return maker.moveRows(*instruction.operation_as_MoveRows());
  case schema::Operation::Update:
    return maker.update(*instruction.operation_as_Update());
  default:
    return Status::error(Code::Internal, "instruction of unknown kind passed the verifier");
  }
}

} // namespace graft
