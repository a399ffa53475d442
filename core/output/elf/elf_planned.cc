#include "core/output/elf/elf_planned.h"

#include <utility>

#include "core/output/elf/hot_elf.h"
#include "core/output/elf/image.h"
#include "core/output/elf/write.h"

namespace kitlink::elf {
namespace {

class ElfPlanned : public PlannedImage {
 public:
  ElfPlanned(const LinkOptions& options, const Arch& arch, Demands demands, Program* program)
      : options_(options), arch_(arch), program_(*program),
        image_(PlaceElf(options, arch, std::move(demands), program)) {}

  uint64_t size() const override { return image_.file_size; }
  const Placement& placement() const override { return image_.placement; }
  const ImageValues& values() const override { return image_.values; }
  uint64_t SymbolAddress(SymbolId id) const override { return elf::SymbolAddress(program_, image_, arch_, id); }
  AtomId padding_abbrev() const override { return image_.padding_abbrev; }

  absl::StatusOr<WrittenImage> Write(MutableBytes image, Diagnostics& diagnostics) override {
    absl::StatusOr<WriteResult> result = WriteElf(options_, program_, image_, arch_, image, diagnostics);
    if (!result.ok()) return result.status();
    return WrittenImage{std::move(result->build_id), std::move(result->build_id_leaves), result->relocations};
  }

  void Describe(Reference* reference) const override { DescribeElf(program_, image_, arch_, reference); }

  absl::StatusOr<std::unique_ptr<HotTables>> Capture(const WrittenImage& written,
                                                     const ImageReader& read) const override {
    return CaptureElf(options_, program_, image_, arch_, written.build_id, written.build_id_leaves, read);
  }

 private:
  const LinkOptions options_;
  const Arch& arch_;
  const Program& program_;
  ElfImage image_;
};

}  // namespace

std::unique_ptr<PlannedImage> PlanElf(const LinkOptions& options, const Arch& arch, Demands demands, Program* program) {
  return std::make_unique<ElfPlanned>(options, arch, std::move(demands), program);
}

}  // namespace kitlink::elf
