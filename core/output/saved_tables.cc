#include "core/output/saved_tables.h"

#include "core/output/elf/hot_elf.h"

namespace kitlink {

// ELF is the one format so far.
void SaveTables(const HotTables& tables, Encoder* encoder) { elf::SaveElf(tables, encoder); }

absl::StatusOr<std::unique_ptr<HotTables>> LoadTables(const LinkOptions& options, const Arch& arch, Decoder* decoder) {
  return elf::LoadElf(options, arch, decoder);
}

std::string TablesSchema() { return elf::ElfTablesSchema(); }

}  // namespace kitlink
