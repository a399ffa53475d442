#include "core/output/elf/hot_growth.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"

namespace kitlink::elf {
namespace {

template <typename T>
void Put(uint64_t offset, const T& value, std::vector<Mutation>* mutations) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(sizeof(T));
  Store(mutation.bytes.data(), value);
  mutations->push_back(std::move(mutation));
}

}  // namespace

HotGrowth::HotGrowth(const ElfImage& image, uint64_t page)
    : page_(std::max<uint64_t>(page, 4096)), file_size_(image.file_size), section_headers_(image.section_headers),
      sections_(static_cast<uint32_t>(image.placement.sections.size()) + 1) {
  uint64_t end = 0;
  for (size_t i = 0; i < image.headers.size(); ++i) {
    const Elf64_Phdr& header = image.headers[i];
    if (header.p_type == PT_LOAD) end = std::max(end, header.p_vaddr + header.p_memsz);
    if (header.p_type != PT_NULL) continue;
    if (spare_++ == 0) first_header_ = sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr);
  }
  if (image.spare_sections < spare_ || image.Section(kShstrtab) == nullptr) spare_ = 0;
  if (const OutputSection* names = image.Section(kShstrtab)) {
    names_ = image.spare_names;
    names_offset_ = names->offset + names_;
  }
  next_address_ = AlignUp(end, page_);
  next_offset_ = AlignUp(file_size_, page_);
}

// The segment that a table has moved to before.
HotGrowth::Entry* HotGrowth::PlaceOf(const GrowthRequest& request) {
  if (!request.moves || (request.flags & kSecAlloc) == 0) return nullptr;
  for (Entry& entry : entries_) {
    if (!entry.left && entry.request.moves && entry.request.output_section == request.output_section) return &entry;
  }
  return nullptr;
}

std::optional<GrowthPlace> HotGrowth::Announce(const GrowthRequest& request) {
  const bool loaded = (request.flags & kSecAlloc) != 0;
  Entry* former = PlaceOf(request);
  if (loaded && former == nullptr && segments_ == spare_) return std::nullopt;
  if (former != nullptr) {
    // Headers of segments stand in order of address: those behind the former one move up.
    former->left = true;
    --segments_;
    for (Entry& entry : entries_) entry.segment -= entry.segment > former->segment;
  }
  Entry entry;
  entry.request = request;
  entry.place.address = loaded ? next_address_ : 0;
  const uint64_t in_file = request.nobits ? 0 : request.size;
  const uint64_t file_end = entries_.empty() ? file_size_ : entries_.back().file_end;
  // Even what has no bytes in the file has to begin inside of it, at the same place of a page as in memory.
  entry.place.offset = in_file != 0 ? next_offset_ : file_end - file_end % page_;
  entry.file_end = in_file != 0 ? next_offset_ + in_file : file_end;
  if (loaded) {
    entry.segment = segments_++;
    if (!request.moves) entry.section = new_sections_++;
    next_address_ = AlignUp(next_address_ + request.size, page_);
  }
  next_offset_ = AlignUp(next_offset_ + in_file, page_);
  entries_.push_back(std::move(entry));
  return entries_.back().place;
}

void HotGrowth::Publish(std::vector<Mutation>* mutations) {
  if (staged_ == entries_.size()) return;
  for (const Entry& entry : entries_) {
    if ((entry.request.flags & kSecAlloc) && !entry.left) PublishSegment(entry, mutations);
  }
  for (; staged_ < entries_.size(); ++staged_) {
    const Entry& entry = entries_[staged_];
    if ((entry.request.flags & kSecAlloc) && !entry.request.moves) PublishSection(entry, mutations);
    if (entry.request.moves || (entry.request.flags & kSecAlloc) == 0) PublishMove(entry, mutations);
  }
}

void HotGrowth::PublishSegment(const Entry& entry, std::vector<Mutation>* mutations) const {
  const GrowthRequest& request = entry.request;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R;
  if (request.flags & kSecWrite) segment.p_flags |= PF_W;
  if (request.flags & kSecExec) segment.p_flags |= PF_X;
  segment.p_offset = entry.place.offset;
  segment.p_vaddr = segment.p_paddr = entry.place.address;
  segment.p_filesz = request.nobits ? 0 : request.size;
  segment.p_memsz = request.size;
  segment.p_align = page_;
  Put(first_header_ + uint64_t{entry.segment} * sizeof(segment), segment, mutations);
}

void HotGrowth::PublishSection(const Entry& entry, std::vector<Mutation>* mutations) const {
  const GrowthRequest& request = entry.request;
  Elf64_Shdr section{};
  section.sh_name = names_ + entry.section * kGrowthNameSize;
  section.sh_type = request.nobits ? SHT_NOBITS : SHT_PROGBITS;
  section.sh_flags = SHF_ALLOC;
  if (request.flags & kSecWrite) section.sh_flags |= SHF_WRITE;
  if (request.flags & kSecExec) section.sh_flags |= SHF_EXECINSTR;
  section.sh_addr = entry.place.address;
  section.sh_offset = entry.place.offset;
  section.sh_size = request.size;
  section.sh_addralign = request.alignment;
  Put(section_headers_ + uint64_t{sections_ + entry.section} * sizeof(section), section, mutations);
  Put(offsetof(Elf64_Ehdr, e_shnum), static_cast<Elf64_Half>(sections_ + entry.section + 1), mutations);

  Mutation name;
  name.offset = names_offset_ + entry.section * kGrowthNameSize;
  name.phase = PatchPhase::kTables;
  const std::string text = absl::StrCat(request.name, ".", entry.section + 1);
  name.bytes.assign(text.begin(), text.begin() + static_cast<ptrdiff_t>(std::min<size_t>(text.size(), kGrowthNameSize - 1)));
  name.bytes.resize(kGrowthNameSize);
  mutations->push_back(std::move(name));
}

void HotGrowth::PublishMove(const Entry& entry, std::vector<Mutation>* mutations) const {
  const uint64_t header = section_headers_ + (uint64_t{entry.request.output_section} + 1) * sizeof(Elf64_Shdr);
  if (entry.request.flags & kSecAlloc) Put(header + offsetof(Elf64_Shdr, sh_addr), entry.place.address, mutations);
  Put(header + offsetof(Elf64_Shdr, sh_offset), entry.place.offset, mutations);
  Put(header + offsetof(Elf64_Shdr, sh_size), entry.request.size, mutations);
}

}  // namespace kitlink::elf
