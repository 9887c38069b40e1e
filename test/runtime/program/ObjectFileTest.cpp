#include "runtime/program/ObjectFile.h"

#include "test/runtime/program/SampleProgram.h"

#include <cstring>
#include <elf.h>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {
using testing::HasSubstr;

std::vector<uint8_t> object() {
  return test::sampleProgram().objects[0]->bytes;
}

std::string textOf(const std::vector<uint8_t> &bytes) {
  Status status = verifyObject(bytes);
  return status.isOk() ? "ok" : status.text();
}

std::string afterHeader(const std::function<void(Elf64_Ehdr &)> &change) {
  std::vector<uint8_t> bytes = object();
  change(*reinterpret_cast<Elf64_Ehdr *>(bytes.data()));
  return textOf(bytes);
}

/// Changes every program header of a kind.
std::string afterSegments(uint32_t type, const std::function<void(Elf64_Phdr &)> &change) {
  std::vector<uint8_t> bytes = object();
  auto *header = reinterpret_cast<Elf64_Ehdr *>(bytes.data());
  auto *segments = reinterpret_cast<Elf64_Phdr *>(bytes.data() + header->e_phoff);
  for (int i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == type)
      change(segments[i]);
  return textOf(bytes);
}

/// Changes every dynamic entry of a tag.
std::string afterDynamic(int64_t tag, const std::function<void(Elf64_Dyn &)> &change) {
  std::vector<uint8_t> bytes = object();
  auto *header = reinterpret_cast<Elf64_Ehdr *>(bytes.data());
  auto *segments = reinterpret_cast<Elf64_Phdr *>(bytes.data() + header->e_phoff);
  for (int i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == PT_DYNAMIC)
      for (auto *entry = reinterpret_cast<Elf64_Dyn *>(bytes.data() + segments[i].p_offset); entry->d_tag != DT_NULL;
           ++entry)
        if (entry->d_tag == tag)
          change(*entry);
  return textOf(bytes);
}

TEST(ObjectFile, AcceptsWhatTheLinkerWrites) {
  EXPECT_EQ(textOf(object()), "ok");
}

TEST(ObjectFile, RejectsOtherFiles) {
  EXPECT_THAT(textOf({}), HasSubstr("not an ELF"));
  EXPECT_THAT(afterHeader([](auto &h) { h.e_ident[0] = 0; }), HasSubstr("not an ELF"));
  EXPECT_THAT(afterHeader([](auto &h) { h.e_ident[EI_CLASS] = ELFCLASS32; }), HasSubstr("64-bit"));
  EXPECT_THAT(afterHeader([](auto &h) { h.e_machine = EM_AARCH64; }), HasSubstr("x86"));
  EXPECT_THAT(afterHeader([](auto &h) { h.e_type = ET_EXEC; }), HasSubstr("shared object"));
}

TEST(ObjectFile, RejectsBadTables) {
  EXPECT_THAT(afterHeader([](auto &h) { h.e_phoff = ~0ull; }), HasSubstr("program header"));
  EXPECT_THAT(afterHeader([](auto &h) { h.e_phnum = 65535; }), HasSubstr("program header"));
  EXPECT_THAT(afterSegments(PT_LOAD, [](auto &s) { s.p_filesz = ~0ull; }), HasSubstr("outside of the file"));
  EXPECT_THAT(afterSegments(PT_LOAD, [](auto &s) { s.p_memsz = ~0ull; }), HasSubstr("impossible size"));
  EXPECT_THAT(afterSegments(PT_LOAD, [](auto &s) { s.p_flags = PF_R | PF_W | PF_X; }), HasSubstr("writable and exec"));
  EXPECT_THAT(afterSegments(PT_DYNAMIC, [](auto &s) { s.p_type = PT_NULL; }), HasSubstr("no dynamic section"));
  EXPECT_THAT(afterSegments(PT_DYNAMIC, [](auto &s) { s.p_type = PT_INTERP; }), HasSubstr("interpreter"));
}

TEST(ObjectFile, RejectsConstructorsLibrariesAndForeignSymbols) {
  for (int64_t tag : {DT_NEEDED, DT_INIT, DT_INIT_ARRAY, DT_FINI_ARRAY, DT_JMPREL})
    EXPECT_THAT(afterDynamic(DT_STRSZ, [&](auto &e) { e.d_tag = tag; }), HasSubstr("are not allowed"));
  EXPECT_THAT(afterDynamic(DT_SYMTAB, [](auto &e) { e.d_un.d_ptr = 1ull << 40; }), HasSubstr("symbol"));
  EXPECT_THAT(afterDynamic(DT_STRTAB, [](auto &e) { e.d_un.d_ptr = ~0ull; }), HasSubstr("symbol or string table"));
  EXPECT_THAT(afterDynamic(DT_GNU_HASH, [](auto &e) { e.d_un.d_ptr = ~0ull; }), HasSubstr("symbol table"));

  std::vector<uint8_t> bytes = object(); // make the first symbol of a kernel undefined
  auto *header = reinterpret_cast<Elf64_Ehdr *>(bytes.data());
  auto *segments = reinterpret_cast<Elf64_Phdr *>(bytes.data() + header->e_phoff);
  uint64_t at = 0;
  for (int i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == PT_DYNAMIC)
      for (auto *e = reinterpret_cast<Elf64_Dyn *>(bytes.data() + segments[i].p_offset); e->d_tag != DT_NULL; ++e)
        if (e->d_tag == DT_SYMTAB)
          at = e->d_un.d_ptr;
  ASSERT_NE(at, 0u); // lies in the first segment, whose addresses are offsets
  reinterpret_cast<Elf64_Sym *>(bytes.data() + at)[1].st_shndx = SHN_UNDEF;
  EXPECT_THAT(textOf(bytes), HasSubstr("from elsewhere"));
  reinterpret_cast<Elf64_Sym *>(bytes.data() + at)[1].st_shndx = 1;
  reinterpret_cast<Elf64_Sym *>(bytes.data() + at)[1].st_info = STT_GNU_IFUNC;
  EXPECT_THAT(textOf(bytes), HasSubstr("resolved by running code"));
}

TEST(ObjectFile, SurvivesFlippedBytes) {
  std::vector<uint8_t> bytes = object();
  for (size_t i = 0; i < bytes.size(); ++i)
    for (uint8_t flip : {0x01, 0x80, 0xFF}) {
      bytes[i] ^= flip;
      (void)verifyObject(bytes).isOk();
      bytes[i] ^= flip;
    }
  EXPECT_EQ(textOf(bytes), "ok");
}

TEST(ObjectFile, KindsByTarget) {
  EXPECT_EQ(objectKind("x86-64-v3"), ObjectKind::SharedObject);
  EXPECT_EQ(objectKind("sm_90"), ObjectKind::Cubin);
  EXPECT_EQ(objectKind("ptx"), ObjectKind::Ptx);
}

std::string cubinAfter(const std::function<void(Elf64_Ehdr &)> &change) {
  std::vector<uint8_t> bytes = test::sampleProgram().objects[1]->bytes;
  change(*reinterpret_cast<Elf64_Ehdr *>(bytes.data()));
  Status status = verifyCubin(bytes);
  return status.isOk() ? "ok" : status.text();
}

TEST(Cubin, IsAnElfFileForCuda) {
  EXPECT_EQ(cubinAfter([](auto &) {}), "ok");
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_ident[0] = 0; }), HasSubstr("not an ELF"));
  EXPECT_THAT(verifyCubin({}).text(), HasSubstr("not an ELF"));
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_machine = EM_X86_64; }), HasSubstr("for CUDA"));
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_ident[EI_CLASS] = ELFCLASS32; }), HasSubstr("64-bit"));
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_shoff = ~uint64_t(0); }), HasSubstr("outside of the file"));
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_shnum = 0; }), HasSubstr("outside of the file"));
  EXPECT_THAT(cubinAfter([](auto &h) { h.e_phnum = 9, h.e_phentsize = 56; }), HasSubstr("outside of the file"));
}

std::string ptxText(std::string_view text) {
  Status status = verifyPtx({reinterpret_cast<const uint8_t *>(text.data()), text.size()});
  return status.isOk() ? "ok" : status.text();
}

TEST(Ptx, IsTextWithoutForeignFunctions) {
  EXPECT_EQ(ptxText(".version 7.0\n.target sm_80\n\t// code\n"), "ok");
  EXPECT_THAT(ptxText(""), HasSubstr("does not begin with a version"));
  EXPECT_THAT(ptxText(".target sm_80"), HasSubstr("does not begin with a version"));
  EXPECT_THAT(ptxText(std::string_view(".version 7.0\0", 13)), HasSubstr("is not text"));
  EXPECT_THAT(ptxText(".version \xff"), HasSubstr("is not text"));
  EXPECT_THAT(ptxText(".version 7.0\n.extern .func f();"), HasSubstr("from elsewhere"));
}

} // namespace
} // namespace graft
