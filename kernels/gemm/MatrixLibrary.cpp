#include "kernels/gemm/MatrixLibrary.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <oneapi/dnnl/dnnl.h>
#include <vector>

namespace graft::kernels {

// One line per function of the C interface that is used.
#define GRAFT_DNNL_FUNCTIONS(X)                                                                                        \
  X(dnnl_version)                                                                                                      \
  X(dnnl_engine_create)                                                                                                \
  X(dnnl_engine_destroy)                                                                                               \
  X(dnnl_stream_create)                                                                                                \
  X(dnnl_stream_destroy)                                                                                               \
  X(dnnl_memory_desc_init_by_strides)                                                                                  \
  X(dnnl_memory_desc_get_size)                                                                                         \
  X(dnnl_memory_create)                                                                                                \
  X(dnnl_memory_set_data_handle)                                                                                       \
  X(dnnl_memory_destroy)                                                                                               \
  X(dnnl_matmul_desc_init)                                                                                             \
  X(dnnl_post_ops_create)                                                                                              \
  X(dnnl_post_ops_append_sum)                                                                                          \
  X(dnnl_post_ops_destroy)                                                                                             \
  X(dnnl_primitive_attr_create)                                                                                        \
  X(dnnl_primitive_attr_set_scratchpad_mode)                                                                           \
  X(dnnl_primitive_attr_set_output_scales)                                                                             \
  X(dnnl_primitive_attr_set_post_ops)                                                                                  \
  X(dnnl_primitive_attr_destroy)                                                                                       \
  X(dnnl_primitive_desc_create)                                                                                        \
  X(dnnl_primitive_desc_query)                                                                                         \
  X(dnnl_primitive_desc_query_md)                                                                                      \
  X(dnnl_primitive_desc_destroy)                                                                                       \
  X(dnnl_primitive_create)                                                                                             \
  X(dnnl_primitive_execute)                                                                                            \
  X(dnnl_primitive_destroy)                                                                                            \
  X(dnnl_sgemm)

struct MatrixLibrary::Functions {
#define GRAFT_MEMBER(NAME) decltype(&::NAME) NAME = nullptr;
  GRAFT_DNNL_FUNCTIONS(GRAFT_MEMBER)
#undef GRAFT_MEMBER
  void (*omp_set_num_threads)(int) = nullptr;
  dnnl_engine_t engine = nullptr;
};

/// Descriptors of the three operands and the compiled product.
class MatrixPrimitive {
public:
  explicit MatrixPrimitive(const MatrixLibrary::Functions &functions) : functions(functions) {}
  ~MatrixPrimitive() {
    if (primitive)
      functions.dnnl_primitive_destroy(primitive);
  }
  const MatrixLibrary::Functions &functions;
  dnnl_memory_desc_t a{}, b{}, c{}, scratch{};
  size_t scratchBytes = 0;
  dnnl_primitive_t primitive = nullptr;
};

class MatrixWorkspace {
public:
  explicit MatrixWorkspace(const MatrixLibrary::Functions &functions) : functions(functions) {}
  ~MatrixWorkspace() {
    if (stream)
      functions.dnnl_stream_destroy(stream);
    std::free(scratch);
  }
  /// At least `bytes`, 64-byte aligned; nullptr if there is no memory.
  void *reserve(size_t bytes) {
    if (bytes > scratchBytes) {
      std::free(scratch);
      scratch = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
      scratchBytes = scratch ? bytes : 0;
    }
    return scratch;
  }
  const MatrixLibrary::Functions &functions;
  dnnl_stream_t stream = nullptr;
  void *scratch = nullptr;
  size_t scratchBytes = 0;
};

namespace {
using Functions = MatrixLibrary::Functions;

constexpr const char *hint = "install Debian's package libdnnl2, or build oneDNN 2.6 or 2.7";

/// Fills the table from the library's own symbols; the name of the first that is missing, or nullptr.
const char *fill(Functions &functions, void *library) {
#define GRAFT_FIND(NAME)                                                                                               \
  if (!(functions.NAME = reinterpret_cast<decltype(functions.NAME)>(::dlsym(library, #NAME))))                         \
    return #NAME;
  GRAFT_DNNL_FUNCTIONS(GRAFT_FIND)
#undef GRAFT_FIND
  // The OpenMP that this library was linked with; absent in a sequential build.
  functions.omp_set_num_threads = reinterpret_cast<void (*)(int)>(::dlsym(library, "omp_set_num_threads"));
  return nullptr;
}

int bindingMode() {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  return RTLD_NOW | RTLD_LOCAL; // AddressSanitizer cannot intercept malloc under deep binding
#else
  return RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif
}

bool describe(const Functions &f, const MatrixLayout &layout, dnnl_data_type_t type, dnnl_memory_desc_t &description) {
  dnnl_dims_t dims, strides;
  if (layout.dims.size() > DNNL_MAX_NDIMS)
    return false;
  for (size_t i = 0; i < layout.dims.size(); ++i) {
    dims[i] = layout.dims[i];
    strides[i] = layout.strides[i];
  }
  return f.dnnl_memory_desc_init_by_strides(&description, static_cast<int>(layout.dims.size()), dims, type, strides) ==
         dnnl_success;
}

/// Attributes: scratch memory comes from us, alpha as an output scale, accumulation as a sum.
dnnl_primitive_attr_t makeAttributes(const Functions &f, float alpha, bool accumulate) {
  dnnl_primitive_attr_t attributes = nullptr;
  if (f.dnnl_primitive_attr_create(&attributes) != dnnl_success)
    return nullptr;
  bool good = f.dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) == dnnl_success;
  if (alpha != 1)
    good = good && f.dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &alpha) == dnnl_success;
  if (accumulate) {
    dnnl_post_ops_t operations = nullptr;
    good = good && f.dnnl_post_ops_create(&operations) == dnnl_success &&
           f.dnnl_post_ops_append_sum(operations, 1.0f) == dnnl_success &&
           f.dnnl_primitive_attr_set_post_ops(attributes, operations) == dnnl_success;
    if (operations)
      f.dnnl_post_ops_destroy(operations);
  }
  if (good)
    return attributes;
  f.dnnl_primitive_attr_destroy(attributes);
  return nullptr;
}
} // namespace

Result<std::shared_ptr<const MatrixLibrary>> MatrixLibrary::open() {
  void *library = ::dlopen("libdnnl.so.2", bindingMode());
  if (!library)
    return Status::error(Code::Io, std::string("oneDNN cannot be opened: ") + ::dlerror(), "libdnnl.so.2", hint);
  // The library stays open for the life of the process: its OpenMP keeps threads that must not lose their code.
  std::shared_ptr<MatrixLibrary> opened(new MatrixLibrary);
  opened->functions_ = std::make_unique<Functions>();
  Functions &f = *opened->functions_;
  if (const char *missing = fill(f, library))
    return Status::error(Code::Unsupported, std::string("has no function ") + missing, "libdnnl.so.2", hint);
  const dnnl_version_t *version = f.dnnl_version();
  opened->version_ = "oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                     std::to_string(version->patch);
  if (version->major != 2)
    return Status::error(Code::Unsupported, opened->version_ + " has another interface", "libdnnl.so.2", hint);
  if (f.dnnl_engine_create(&f.engine, dnnl_cpu, 0) != dnnl_success)
    return Status::error(Code::Unsupported, "has no CPU engine", "libdnnl.so.2", hint);
  return std::shared_ptr<const MatrixLibrary>(opened);
}

MatrixLibrary::~MatrixLibrary() {
  if (functions_ && functions_->engine)
    (void)functions_->dnnl_engine_destroy(functions_->engine);
}

void MatrixLibrary::useOneThread() const {
  if (functions_->omp_set_num_threads)
    functions_->omp_set_num_threads(1);
}

void MatrixLibrary::sgemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                          int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) const {
  functions_->dnnl_sgemm(transA ? 'T' : 'N', transB ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

float *MatrixLibrary::scratch(MatrixWorkspace &workspace, int64_t floats) const {
  return static_cast<float *>(workspace.reserve(static_cast<size_t>(floats) * sizeof(float)));
}

std::shared_ptr<const MatrixPrimitive> MatrixLibrary::prepare(MatrixType type, const MatrixLayout &a,
                                                              const MatrixLayout &b, const MatrixLayout &c, float alpha,
                                                              bool accumulate) const {
  const Functions &f = *functions_;
  dnnl_data_type_t input = type == MatrixType::BF16 ? dnnl_bf16 : dnnl_f32;
  auto product = std::make_shared<MatrixPrimitive>(f);
  dnnl_matmul_desc_t description;
  if (!describe(f, a, input, product->a) || !describe(f, b, input, product->b) ||
      !describe(f, c, dnnl_f32, product->c) ||
      f.dnnl_matmul_desc_init(&description, &product->a, &product->b, nullptr, &product->c) != dnnl_success)
    return nullptr;
  dnnl_primitive_attr_t attributes = makeAttributes(f, alpha, accumulate);
  dnnl_primitive_desc_t chosen = nullptr;
  dnnl_status_t status = attributes ? f.dnnl_primitive_desc_create(&chosen, &description, attributes, f.engine, nullptr)
                                    : dnnl_out_of_memory;
  if (attributes)
    f.dnnl_primitive_attr_destroy(attributes);
  if (status != dnnl_success)
    return nullptr;
  const char *implementation = "ref";
  (void)f.dnnl_primitive_desc_query(chosen, dnnl_query_impl_info_str, 0, &implementation);
  if (const auto *scratch = f.dnnl_primitive_desc_query_md(chosen, dnnl_query_scratchpad_md, 0)) {
    product->scratch = *scratch;
    product->scratchBytes = f.dnnl_memory_desc_get_size(scratch);
  }
  bool good = std::strncmp(implementation, "ref", 3) != 0 &&
              f.dnnl_primitive_create(&product->primitive, chosen) == dnnl_success;
  f.dnnl_primitive_desc_destroy(chosen);
  return good ? product : nullptr;
}

std::shared_ptr<MatrixWorkspace> MatrixLibrary::makeWorkspace() const {
  auto workspace = std::make_shared<MatrixWorkspace>(*functions_);
  if (functions_->dnnl_stream_create(&workspace->stream, functions_->engine, dnnl_stream_default_flags) != dnnl_success)
    workspace->stream = nullptr;
  return workspace;
}

bool MatrixLibrary::run(const MatrixPrimitive &primitive, MatrixWorkspace &workspace, const void *a, const void *b,
                        float *c) const {
  const Functions &f = *functions_;
  void *scratch = primitive.scratchBytes ? workspace.reserve(primitive.scratchBytes) : nullptr;
  if (!workspace.stream || (primitive.scratchBytes && !scratch))
    return false;
  struct Operand {
    int argument;
    const dnnl_memory_desc_t *description;
    void *data;
  };
  const Operand operands[] = {{DNNL_ARG_SRC, &primitive.a, const_cast<void *>(a)},
                              {DNNL_ARG_WEIGHTS, &primitive.b, const_cast<void *>(b)},
                              {DNNL_ARG_DST, &primitive.c, c},
                              {DNNL_ARG_SCRATCHPAD, &primitive.scratch, scratch}};
  int count = primitive.scratchBytes ? 4 : 3;
  dnnl_exec_arg_t arguments[4];
  bool good = true;
  int made = 0;
  for (; made < count && good; ++made) {
    arguments[made].arg = operands[made].argument;
    arguments[made].memory = nullptr;
    good = f.dnnl_memory_create(&arguments[made].memory, operands[made].description, f.engine, operands[made].data) ==
           dnnl_success;
  }
  good = good && f.dnnl_primitive_execute(primitive.primitive, workspace.stream, count, arguments) == dnnl_success;
  for (int i = 0; i < made; ++i)
    if (arguments[i].memory)
      f.dnnl_memory_destroy(arguments[i].memory);
  return good;
}

} // namespace graft::kernels
