// Growth of a hot image beyond its reserves: spare program headers become segments behind everything else, with section
// headers of their own, and sections that are not loaded move to the end of the file with more room.
//
// Program headers that are spare are PT_NULL; section headers that are spare lie behind the table, and so do names in
// .shstrtab. Tables that are loaded take a segment as well, but keep their section header. What is added goes to the end of
// the file and of the address space, so nothing that was published moves.
#ifndef CORE_OUTPUT_ELF_HOT_GROWTH_H_
#define CORE_OUTPUT_ELF_HOT_GROWTH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/output/elf/image.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

class HotGrowth {
 public:
  // To be read from disk.
  HotGrowth() = default;
  HotGrowth(const ElfImage& image, uint64_t page);

  // See HotTables. What is announced stays so, whatever becomes of the plan.
  std::optional<GrowthPlace> Announce(const GrowthRequest& request);
  // True when all spare program headers are taken.
  bool full() const { return spare_ != 0 && segments_ == spare_; }
  void Begin() { staged_ = published_; }
  void Publish(std::vector<Mutation>* mutations);
  void Accept() { published_ = staged_; }
  uint64_t next_address() const { return next_address_; }
  // Bytes of the file with what is published, in this plan too.
  uint64_t image_size() const { return staged_ == 0 ? file_size_ : entries_[staged_ - 1].file_end; }

  KITLINK_FIELDS_BUT((staged_), page_, file_size_, section_headers_, sections_, first_header_, spare_, names_offset_, names_, entries_,
                 segments_, new_sections_, next_address_, next_offset_, published_)

 private:
  struct Entry {
    GrowthRequest request;
    GrowthPlace place;
    uint32_t segment = 0;   // number among the segments that were added
    uint32_t section = 0;   // the same among sections, when it is a new one
    uint64_t file_end = 0;
    bool left = false;      // by a table that has moved on: its segment is no more
    KITLINK_FIELDS(request, place, segment, section, file_end, left)
  };

  Entry* PlaceOf(const GrowthRequest& request);
  void PublishSegment(const Entry& entry, std::vector<Mutation>* mutations) const;
  void PublishSection(const Entry& entry, std::vector<Mutation>* mutations) const;
  void PublishMove(const Entry& entry, std::vector<Mutation>* mutations) const;

  uint64_t page_ = 0;
  uint64_t file_size_ = 0;
  uint64_t section_headers_ = 0;
  uint32_t sections_ = 0;       // with the null one, before any growth
  uint64_t first_header_ = 0;   // file offset of the first spare program header
  uint32_t spare_ = 0;          // how many there are
  uint64_t names_offset_ = 0;   // file offset of the spare names
  uint32_t names_ = 0;          // the same in .shstrtab
  std::vector<Entry> entries_;
  uint32_t segments_ = 0, new_sections_ = 0;  // of `entries_`
  uint64_t next_address_ = 0, next_offset_ = 0;
  size_t published_ = 0, staged_ = 0;  // entries
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_GROWTH_H_
