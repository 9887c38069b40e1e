// Broken models, made at random from sound ones with a fixed seed: each is imported or declined, and nothing crashes.
// What is imported is sound (importModel verifies it).
#include "test/frontends/onnx/import/Support.h"

#include <filesystem>
#include <random>

namespace graft::onnx {
namespace {

std::vector<std::string> modelBytes() {
  std::vector<std::string> out;
  std::vector<std::filesystem::path> paths;
  for (const auto &entry : std::filesystem::directory_iterator(dataPath("onnx/node")))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto &path : paths)
    out.push_back(readFile(path.string()));
  return out;
}

/// Overwrites one to four bytes or an aligned-or-not number with values that sizes and indices break on.
std::string mutated(std::string bytes, std::mt19937 &random) {
  constexpr unsigned char interesting[] = {0, 1, 2, 3, 7, 8, 9, 0x7f, 0x80, 0xff};
  for (unsigned i = 0, count = 1 + random() % 4; i < count; ++i)
    bytes[random() % bytes.size()] =
        static_cast<char>(random() % 2 ? interesting[random() % std::size(interesting)] : random() % 256);
  if (random() % 4 == 0 && bytes.size() > 8) {
    constexpr int64_t numbers[] = {0, -1, 1, -2, INT64_MAX, INT64_MIN, int64_t{1} << 31, int64_t{1} << 62};
    std::memcpy(&bytes[random() % (bytes.size() - 8)], &numbers[random() % std::size(numbers)], 8);
  }
  return bytes;
}

// Tests that no byte of a model can crash the importer.
TEST(ImportMutations, AreImportedOrDeclined) {
  int rounds = 4;
  if (const char *more = std::getenv("GRAFT_TEST_ROUNDS"))
    rounds = std::atoi(more);
  std::vector<std::string> models = modelBytes();
  ASSERT_FALSE(models.empty());
  size_t imported = 0, declined = 0;
  auto context = makeContext();
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < models.size(); ++i) {
      std::mt19937 random(static_cast<unsigned>(round * 10007 + static_cast<int>(i)));
      SCOPED_TRACE("round " + std::to_string(round) + ", model " + std::to_string(i));
      auto file = ModelFile::readBytes(mutated(models[i], random), "mutated.onnx");
      if (!file.isOk())
        continue;
      ImportOptions options;
      options.allOutputs = true;
      options.fold.total = 1 << 22;
      auto model = importModel(**file, *context, options);
      ++(model.isOk() ? imported : declined);
      for (const Fault &fault : model.status().faults())
        EXPECT_NE(fault.code, Code::Internal) << model.status().text();
    }
    context = makeContext(); // constants live as long as their context
  }
  EXPECT_GT(imported, 100u);
  EXPECT_GT(declined, 50u);
}

} // namespace
} // namespace graft::onnx
