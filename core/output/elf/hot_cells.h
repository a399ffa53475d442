// The GOT and the PLT of a hot image: who has which cell, cells given out of the reserve, cells whose symbol went
// elsewhere.
#ifndef CORE_OUTPUT_ELF_HOT_CELLS_H_
#define CORE_OUTPUT_ELF_HOT_CELLS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/paged_table.h"
#include "core/output/elf/free_rooms.h"
#include "core/output/elf/hot_rela.h"
#include "core/output/elf/image.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// Where the tables of cells are. Addresses are the image's, offsets the file's.
struct CellsHome {
  uint64_t got = 0, got_offset = 0;
  uint64_t got_plt = 0, got_plt_offset = 0;
  uint64_t plt = 0, plt_offset = 0;
  uint64_t iplt = 0, iplt_offset = 0;
  uint64_t rela_plt_offset = 0;
  std::vector<uint64_t> rela_plt_sizes;  // fields that hold the size of .rela.plt: DT_PLTRELSZ, sh_size
  bool pic = false, shared = false, static_tls = false;

  KITLINK_FIELDS(got, got_offset, got_plt, got_plt_offset, plt, plt_offset, iplt, iplt_offset, rela_plt_offset, rela_plt_sizes, pic,
                 shared, static_tls)
};

class HotCells {
 public:
  // To be read from disk.
  explicit HotCells(const Arch& arch) : arch_(arch) {}
  // `irelative`: the rows behind the jump slots of .rela.plt, as they were written.
  HotCells(const Cells& cells, const ImageValues& values, const Arch& arch, const CellsHome& home, ByteView irelative);

  void Begin();
  // What a symbol owns, in this plan; nullptr for nothing. Valid until the next call of a function that is not const.
  const CellSet* Find(SymbolId symbol) const;
  // What it owns without the plan; nullptr for nothing.
  const CellSet* Known(SymbolId symbol) const;
  // Gives a symbol the cells that it lacks; their relocations go to `rela`. See HotTables::NeedCells.
  absl::Status Need(const CellRequest& request, HotRela* rela, std::vector<Mutation>* mutations);
  // A definition is at `address` now: its cells follow, unless the loader fills them by name. Unimplemented where the
  // address is a cell's own.
  absl::Status Move(SymbolId symbol, uint64_t address, bool absolute, HotRela* rela);
  // The same for cells that the loader has filled by name.
  absl::Status Bind(SymbolId symbol, uint64_t address, bool absolute, HotRela* rela);
  // Gives an IFUNC a PLT entry, if it has none, whose resolver is at `address` now; its address. ResourceExhausted.
  absl::StatusOr<uint64_t> AddIfunc(SymbolId symbol, uint64_t address, std::vector<Mutation>* mutations);
  // Takes the PLT entry of an IFUNC away, if it has one: its resolver does not run any more.
  void RemoveIfunc(SymbolId symbol, std::vector<Mutation>* mutations);
  // Whether it has one without the plan.
  bool HasIfunc(SymbolId symbol) const;
  // Whether the image has any, without the plan and with it.
  bool had_ifuncs() const { return !irelative_.empty(); }
  bool has_ifuncs() const { return !Irelative().empty(); }
  // The resolver of an IFUNC that has a PLT entry is at `address` now.
  void MoveResolver(const CellSet& set, uint64_t address, std::vector<Mutation>* mutations);
  // A symbol is bound at run time from now on: so are the cells that it has.
  absl::Status Import(SymbolId symbol, uint32_t dynsym, HotRela* rela, std::vector<Mutation>* mutations);
  // An import's PLT entry, which it gets if it has none, is its address from now on. ResourceExhausted.
  absl::Status MakeCanonical(SymbolId symbol, std::vector<Mutation>* mutations);
  // An import has another row in .dynsym, or none any more (0).
  void Renumber(SymbolId symbol, uint32_t dynsym, std::vector<Mutation>* mutations);
  // A symbol is gone: nobody refers to its cells, but the loader still visits them.
  void Vacate(SymbolId symbol, HotRela* rela);
  void AddCells(SymbolId symbol, TargetValue* value) const;
  void Emit(std::vector<Mutation>* mutations) const;
  void Accept();
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((arch_, staged_sets_, staged_got_, staged_got_count_, staged_plt_, staged_ifuncs_),
                     cells_, set_of_, sets_, values_, home_, irelative_, free_iplt_)

 private:
  // What a cell is to hold.
  struct Content {
    bool imported = false;
    bool absolute = false;
    uint64_t address = 0;
    uint32_t dynsym = 0;
  };
  // A relocation that the loader applies to a word.
  struct Dynamic {
    uint32_t type = 0;
    uint32_t symbol = 0;
    uint64_t addend = 0;
  };

  struct Ifuncs {
    std::vector<Elf64_Rela> rows;
    FreeRooms free;
  };

  CellSet& Stage(SymbolId symbol);
  Ifuncs& StageIfuncs();
  const std::vector<Elf64_Rela>& Irelative() const { return staged_ifuncs_ ? staged_ifuncs_->rows : irelative_; }
  uint64_t Address(int32_t cell) const { return home_.got + 8 * static_cast<uint64_t>(cell); }
  absl::Status Take(uint32_t count, int32_t* cell);
  absl::Status Relocate(int32_t cell, const Dynamic& dynamic, HotRela* rela);
  void Unrelocate(int32_t cell, HotRela* rela) const { rela->Remove({Address(cell), Address(cell) + 1}); }
  absl::Status Refill(const CellSet& set, const Content& content, bool by_name_too, HotRela* rela);
  bool FilledByName(int32_t cell, const HotRela& rela) const;
  absl::Status FillAddress(int32_t cell, const Content& content, HotRela* rela);
  absl::Status FillTpOffset(int32_t cell, const Content& content, HotRela* rela);
  absl::Status FillTlsGd(int32_t cell, const Content& content, HotRela* rela);
  absl::Status FillTlsDesc(int32_t cell, const Content& content, HotRela* rela);
  void WriteJumpSlot(uint32_t index, uint32_t dynsym, std::vector<Mutation>* mutations) const;
  absl::Status AddPlt(SymbolId symbol, std::vector<Mutation>* mutations);
  uint64_t IpltAddress(int32_t entry) const { return home_.iplt + static_cast<uint64_t>(entry) * arch_.plt_entry_size(); }
  uint64_t IpltSlot(int32_t entry) const { return 8 * (uint64_t{kGotPltHeader} + cells_.plt_capacity() + static_cast<uint64_t>(entry)); }
  void EmitIrelative(std::vector<Mutation>* mutations) const;
  uint32_t plt_count() const { return static_cast<uint32_t>(cells_.plt.size() + staged_plt_.size()); }

  void Own(SymbolId symbol, const CellSet& set);

  Cells cells_;  // counts; who owns what is in the two that follow
  PagedTable<int32_t, 4096> set_of_;  // by SymbolId: index in sets_, -1 for none
  PagedTable<CellSet, 512> sets_;
  ImageValues values_;
  const Arch& arch_;
  CellsHome home_;
  std::vector<Elf64_Rela> irelative_;  // behind the jump slots of .rela.plt
  FreeRooms free_iplt_;                // entries

  absl::flat_hash_map<SymbolId, CellSet> staged_sets_;
  absl::btree_map<int32_t, uint64_t> staged_got_;  // cell -> what the file holds there
  uint32_t staged_got_count_ = 0;
  std::vector<SymbolId> staged_plt_;               // entries that the plan adds
  std::optional<Ifuncs> staged_ifuncs_;            // none: as they are
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_CELLS_H_
