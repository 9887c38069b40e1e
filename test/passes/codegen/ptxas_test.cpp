// The assembler of the CUDA toolkit, where there is one: cubins, and its errors.
#include "passes/codegen/Ptxas.h"
#include "test/passes/codegen/Kernels.h"
#include <gmock/gmock.h>

using testing::HasSubstr;

namespace graft::test {
namespace {

constexpr const char *kPtx = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry nothing() { ret; }\n";

TEST(Ptxas, AssemblesForEveryArchitecture) {
  std::optional<std::string> ptxas = findPtxas();
  if (!ptxas)
    GTEST_SKIP() << "there is no ptxas in PATH or CUDA_HOME";
  for (std::string_view architecture : cudaArchitectures()) {
    Result<std::string> cubin = assemblePtx(*ptxas, kPtx, architecture);
    ASSERT_TRUE(cubin.isOk()) << architecture << ": " << cubin.status().text();
    EXPECT_EQ(cubin->substr(0, 4), "\x7f"
                                   "ELF");
    EXPECT_EQ(*cubin, *assemblePtx(*ptxas, kPtx, architecture)) << "the same bytes each time";
  }
}

TEST(Ptxas, SaysWhatTheAssemblerSaid) {
  std::optional<std::string> ptxas = findPtxas();
  if (!ptxas)
    GTEST_SKIP() << "there is no ptxas in PATH or CUDA_HOME";
  Result<std::string> cubin = assemblePtx(*ptxas, "no PTX", "sm_80");
  ASSERT_FALSE(cubin.isOk());
  EXPECT_THAT(cubin.status().text(), HasSubstr("cannot assemble for sm_80"));
  EXPECT_THAT(cubin.status().text(), HasSubstr("kernels.ptx"));
}

TEST(Ptxas, SaysWhenThereIsNone) {
  Result<std::string> cubin = assemblePtx("/nowhere/ptxas", kPtx, "sm_80");
  ASSERT_FALSE(cubin.isOk());
  EXPECT_THAT(cubin.status().text(), HasSubstr("/nowhere/ptxas cannot assemble for sm_80"));
}

} // namespace
} // namespace graft::test
