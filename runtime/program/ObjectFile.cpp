#include "runtime/program/ObjectFile.h"

#include <cstring>
#include <elf.h>
#include <string>
#include <vector>

namespace graft {

namespace {
Status fault(std::string message) {
  return Status::error(Code::Verify, std::move(message));
}

bool isInside(uint64_t offset, uint64_t size, uint64_t whole) {
  return offset <= whole && size <= whole - offset;
}

/// Reads a T at `offset`, which the caller has checked.
template <typename T> T read(std::span<const uint8_t> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// The file as the dynamic loader sees it: segments, and the dynamic section's entries.
struct Image {
  std::span<const uint8_t> bytes;
  std::vector<Elf64_Phdr> segments;
  std::vector<Elf64_Dyn> dynamic;

  /// File bytes of virtual addresses [address, address + size); empty if they are not in one segment's file part.
  std::span<const uint8_t> at(uint64_t address, uint64_t size) const {
    for (const Elf64_Phdr &segment : segments)
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
          isInside(address - segment.p_vaddr, size, segment.p_filesz))
        return bytes.subspan(segment.p_offset + (address - segment.p_vaddr), size);
    return {};
  }
  const Elf64_Dyn *find(int64_t tag) const {
    for (const Elf64_Dyn &entry : dynamic)
      if (entry.d_tag == tag)
        return &entry;
    return nullptr;
  }
};

Status readHeader(Image &image) {
  std::span<const uint8_t> bytes = image.bytes;
  if (bytes.size() < sizeof(Elf64_Ehdr) || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0)
    return fault("object code is not an ELF file");
  auto header = read<Elf64_Ehdr>(bytes, 0);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_DYN ||
      header.e_machine != EM_X86_64)
    return fault("object code is not a 64-bit little-endian x86 shared object");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > 64 ||
      !isInside(header.e_phoff, uint64_t(header.e_phnum) * sizeof(Elf64_Phdr), bytes.size()))
    return fault("object code has a bad program header table");
  for (unsigned i = 0; i < header.e_phnum; ++i)
    image.segments.push_back(read<Elf64_Phdr>(bytes, header.e_phoff + i * sizeof(Elf64_Phdr)));
  return Status::ok();
}

Status checkSegments(const Image &image) {
  for (const Elf64_Phdr &segment : image.segments) {
    if (!isInside(segment.p_offset, segment.p_filesz, image.bytes.size()))
      return fault("object code has a segment outside of the file");
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) && (segment.p_flags & PF_X))
      return fault("object code has a segment that is writable and executable");
    if (segment.p_type == PT_INTERP || segment.p_type == PT_TLS)
      return fault("object code has an interpreter or thread-local storage");
    bool large = segment.p_memsz > (uint64_t(1) << 32) || segment.p_vaddr > (uint64_t(1) << 32);
    if (segment.p_type == PT_LOAD && (large || segment.p_memsz < segment.p_filesz))
      return fault("object code has a segment of impossible size");
  }
  return Status::ok();
}

Status readDynamic(Image &image) {
  for (const Elf64_Phdr &segment : image.segments)
    if (segment.p_type == PT_DYNAMIC)
      for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= segment.p_filesz; at += sizeof(Elf64_Dyn)) {
        auto entry = read<Elf64_Dyn>(image.bytes, segment.p_offset + at);
        if (entry.d_tag == DT_NULL)
          break;
        image.dynamic.push_back(entry);
      }
  return image.dynamic.empty() ? fault("object code has no dynamic section") : Status::ok();
}

Status checkDynamic(const Image &image) {
  constexpr int64_t forbidden[] = {
      DT_NEEDED,  DT_INIT, DT_FINI,      DT_INIT_ARRAY, DT_FINI_ARRAY, DT_PREINIT_ARRAY, DT_RPATH,  DT_RUNPATH,
      DT_TEXTREL, DT_REL,  DT_AUXILIARY, DT_FILTER,     DT_VERNEED,    DT_VERDEF,        DT_JMPREL, 36 /* RELR */};
  for (int64_t tag : forbidden)
    if (image.find(tag))
      return fault("object code has dynamic entry " + std::to_string(tag) +
                   ": needed libraries, constructors and lazy calls are not allowed");
  return Status::ok();
}

Status checkRelocations(const Image &image) {
  const Elf64_Dyn *table = image.find(DT_RELA), *size = image.find(DT_RELASZ);
  if (!table && !size)
    return Status::ok();
  if (!table || !size || size->d_un.d_val % sizeof(Elf64_Rela) != 0)
    return fault("object code has a bad relocation table");
  std::span<const uint8_t> bytes = image.at(table->d_un.d_ptr, size->d_un.d_val);
  if (bytes.size() != size->d_un.d_val)
    return fault("object code has a relocation table outside of the file");
  for (uint64_t at = 0; at < bytes.size(); at += sizeof(Elf64_Rela)) {
    auto relocation = read<Elf64_Rela>(bytes, at);
    if (ELF64_R_TYPE(relocation.r_info) != R_X86_64_RELATIVE || image.at(relocation.r_offset, 8).empty())
      return fault("object code has a relocation of type " + std::to_string(ELF64_R_TYPE(relocation.r_info)) +
                   " or outside of its segments");
  }
  return Status::ok();
}

/// Number of dynamic symbols: from DT_HASH's chain count, or by walking DT_GNU_HASH. 0 if neither can be read.
uint64_t symbolCount(const Image &image) {
  if (const Elf64_Dyn *hash = image.find(DT_HASH))
    if (auto bytes = image.at(hash->d_un.d_ptr, 8); !bytes.empty())
      return read<uint32_t>(bytes, 4);
  const Elf64_Dyn *hash = image.find(DT_GNU_HASH);
  std::span<const uint8_t> head = hash ? image.at(hash->d_un.d_ptr, 16) : std::span<const uint8_t>();
  if (head.empty())
    return 0;
  uint64_t buckets = read<uint32_t>(head, 0), first = read<uint32_t>(head, 4), bloom = read<uint32_t>(head, 8);
  uint64_t bucketsAt = hash->d_un.d_ptr + 16 + bloom * 8;
  std::span<const uint8_t> bucketBytes = image.at(bucketsAt, buckets * 4);
  if (bucketBytes.empty())
    return 0;
  uint64_t last = 0;
  for (uint64_t i = 0; i < buckets; ++i)
    last = std::max<uint64_t>(last, read<uint32_t>(bucketBytes, i * 4));
  if (last < first)
    return first;
  for (;; ++last) { // the chain of the last bucket ends at an odd hash
    auto chain = image.at(bucketsAt + buckets * 4 + (last - first) * 4, 4);
    if (chain.empty())
      return 0;
    if (read<uint32_t>(chain, 0) & 1)
      return last + 1;
  }
}

Status checkSymbols(const Image &image) {
  const Elf64_Dyn *table = image.find(DT_SYMTAB), *strings = image.find(DT_STRTAB), *size = image.find(DT_STRSZ);
  uint64_t count = symbolCount(image);
  if (!table || !strings || !size || count == 0 || count > 10'000'000)
    return fault("object code has no readable symbol table");
  auto text = image.at(strings->d_un.d_ptr, size->d_un.d_val);
  auto bytes = image.at(table->d_un.d_ptr, count * sizeof(Elf64_Sym));
  if (text.empty() || text.back() != 0 || bytes.empty())
    return fault("object code has a symbol or string table outside of the file");
  for (uint64_t i = 1; i < count; ++i) {
    auto symbol = read<Elf64_Sym>(bytes, i * sizeof(Elf64_Sym));
    if (symbol.st_name >= text.size())
      return fault("object code has a symbol name outside of its string table");
    std::string name = escaped(reinterpret_cast<const char *>(text.data()) + symbol.st_name);
    if (symbol.st_shndx == SHN_UNDEF)
      return fault("object code needs symbol '" + name + "' from elsewhere");
    if (ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC)
      return fault("object code has symbol '" + name + "' that is resolved by running code");
    if (image.at(symbol.st_value, 1).empty())
      return fault("object code has symbol '" + name + "' outside of its segments");
  }
  return Status::ok();
}
} // namespace

Status verifyObject(std::span<const uint8_t> bytes) {
  Image image{bytes, {}, {}};
  GRAFT_RETURN_IF_ERROR(readHeader(image));
  GRAFT_RETURN_IF_ERROR(checkSegments(image));
  GRAFT_RETURN_IF_ERROR(readDynamic(image));
  GRAFT_RETURN_IF_ERROR(checkDynamic(image));
  GRAFT_RETURN_IF_ERROR(checkRelocations(image));
  return checkSymbols(image);
}

ObjectKind objectKind(std::string_view target) {
  return target == "ptx" ? ObjectKind::Ptx : target.starts_with("sm_") ? ObjectKind::Cubin : ObjectKind::SharedObject;
}

Status verifyCubin(std::span<const uint8_t> bytes) {
  constexpr uint16_t cuda = 190; // EM_CUDA
  if (bytes.size() < sizeof(Elf64_Ehdr) || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0)
    return fault("cubin is not an ELF file");
  auto header = read<Elf64_Ehdr>(bytes, 0);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != cuda)
    return fault("cubin is not a 64-bit little-endian ELF file for CUDA");
  if (!isInside(header.e_phoff, uint64_t(header.e_phnum) * header.e_phentsize, bytes.size()) || header.e_shnum == 0 ||
      !isInside(header.e_shoff, uint64_t(header.e_shnum) * header.e_shentsize, bytes.size()))
    return fault("cubin has a header table outside of the file");
  return Status::ok();
}

Status verifyPtx(std::span<const uint8_t> bytes) {
  std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  if (!text.starts_with(".version "))
    return fault("PTX does not begin with a version");
  for (char c : text)
    if (c != '\n' && c != '\t' && (c < ' ' || c > '~'))
      return fault("PTX is not text");
  if (text.find(".extern") != std::string_view::npos)
    return fault("PTX needs functions or variables from elsewhere");
  return Status::ok();
}

} // namespace graft
