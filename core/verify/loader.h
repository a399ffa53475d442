// A model of what ld.so (or a static program's start-up) does with an image: every word's value after
// relocation, as a function of the base address rather than at one base.
//
// A value that moves with the base is kAddress, one that does not is kConstant: mapping the image at two
// bases and comparing would tell the same. Relocation types are those of the x86-64 psABI, table 4.10.
#ifndef CORE_VERIFY_LOADER_H_
#define CORE_VERIFY_LOADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/verify/image.h"

namespace kitlink::verify {

struct DynamicRelocation {
  uint64_t address = 0;  // of the word
  uint32_t type = 0;
  uint32_t symbol = 0;  // index into dynsym
  int64_t addend = 0;
};

// What a word holds, or an operand denotes, once the image is loaded.
struct Value {
  enum class Kind : uint8_t {
    kConstant,   // `number`, whatever the base
    kAddress,    // base + `number`
    kIfunc,      // what the resolver at base + `number` returns
    kSymbol,     // whatever wins the lookup of `name`, plus `number`
    kSize,       // the size of whatever wins the lookup of `name`, plus `number`
    kTls,        // the thread variable at template address `number`
    kTlsSymbol,  // the thread variable `name`, plus `number`
    kTlsModule,  // this module's TLS block as a whole (or, with `name`, the module of that symbol)
    kBad,        // cannot be determined; `name` says why
  };
  Kind kind = Kind::kConstant;
  uint64_t number = 0;
  std::string name;     // with "@version" where the image says one
  uint64_t origin = 0;  // kSymbol: the address here that stands for it (a copy, a PLT entry); not compared

  static Value Constant(uint64_t n) { return {Kind::kConstant, n, {}, 0}; }
  static Value Address(uint64_t a) { return {Kind::kAddress, a, {}, 0}; }
  static Value Ifunc(uint64_t a) { return {Kind::kIfunc, a, {}, 0}; }
  static Value Tls(uint64_t a) { return {Kind::kTls, a, {}, 0}; }
  static Value Symbol(std::string n, uint64_t addend) { return {Kind::kSymbol, addend, std::move(n), 0}; }
  static Value TlsSymbol(std::string n, uint64_t addend) {
    return {Kind::kTlsSymbol, addend, std::move(n), 0};
  }
  static Value Size(std::string n, uint64_t addend) { return {Kind::kSize, addend, std::move(n), 0}; }
  static Value TlsModule(std::string n) { return {Kind::kTlsModule, 0, std::move(n), 0}; }
  static Value Bad(std::string why) { return {Kind::kBad, 0, std::move(why), 0}; }

  // The same with `delta` added.
  Value Plus(uint64_t delta) const {
    Value v = *this;
    if (kind != Kind::kBad && kind != Kind::kTlsModule) v.number += delta;
    return v;
  }
  friend bool operator==(const Value& a, const Value& b) {
    return a.kind == b.kind && a.number == b.number && a.name == b.name;
  }
};

// The name of a dynamic relocation type, "R_X86_64_RELATIVE".
std::string RelocationName(uint32_t type);

// An image with its dynamic relocations. Immutable after Load; thread safe to read.
class LoadedImage {
 public:
  // `image` must outlive the result. Collects what is wrong with the relocation tables (a word relocated
  // twice, a bad symbol index, a wrong DT_RELACOUNT, a word that is not writable) in problems() instead of
  // failing.
  static LoadedImage Load(const Image& image);

  const Image& image() const { return *image_; }
  const std::vector<std::string>& problems() const { return problems_; }
  // Without R_X86_64_NONE, sorted by address.
  const std::vector<DynamicRelocation>& relocations() const { return relocations_; }
  // The relocation of the word that starts at `address`, or null.
  const DynamicRelocation* RelocationAt(uint64_t address) const;

  // The loaded value of the 8-byte word (of 4 bytes for R_X86_64_SIZE32) at `address`, minus `bias` (what was added to the target on top).
  Value Word(uint64_t address, int64_t bias = 0) const;
  // What a thread-local access through the pair of GOT words at `address` finds (tls_index of general
  // dynamic).
  Value TlsPair(uint64_t address) const;
  // What a TLS descriptor at `address` finds.
  Value TlsDescriptor(uint64_t address) const;
  // What a word at `address` that is added to the thread pointer finds.
  Value TpWord(uint64_t address) const;

  // `address`, unless it is that of a copy-relocated variable, which stands for the library's.
  Value Canonical(uint64_t address) const;
  // When the code at `address` is a PLT entry ([endbr64] [bnd] jmp *cell(%rip)): the value of the cell,
  // followed through canonical PLT symbols. nullopt otherwise.
  std::optional<Value> ThroughPlt(uint64_t address) const;
  // When the code at `address` is an unconditional near jump ([endbr64] jmp rel32): where it goes.
  std::optional<uint64_t> ThroughJump(uint64_t address) const;
  // Bytes of the code at `address` that such a jump takes; 0 when it is none.
  uint64_t JumpLength(uint64_t address) const;

  // What distances to the global offset table are counted from; nullopt when there is none.
  std::optional<uint64_t> got() const { return got_; }

  // "name@version" of a dynamic symbol as lookups see it: hidden or not does not matter for a reference.
  std::string NameOf(uint32_t dynsym_index) const;

 private:
  // Who applies a table: the loader, the loader when it likes (DT_JMPREL), or a static program's own start-up code.
  enum class Table : uint8_t { kRela, kPlt, kStatic };
  void ReadTable(uint64_t address, uint64_t size, Table kind);
  void ReadRelr(uint64_t address, uint64_t size);
  void FindStaticTable();
  void ReadVersions();
  void CheckRelativeCount(uint64_t rela, uint64_t size);
  void CheckWords();
  void CheckLazyPlt(uint64_t table, uint64_t size);
  Value SymbolSize(uint32_t index, int64_t addend) const;
  Value SymbolValue(uint32_t index, int64_t addend) const;
  Value SymbolTls(uint32_t index, int64_t addend) const;
  bool Problem(std::string what);

  void FindGot();
  void CheckReservedCells(uint64_t got);

  const Image* image_ = nullptr;
  std::optional<uint64_t> got_;
  std::vector<std::string> problems_;
  std::vector<DynamicRelocation> relocations_;
  std::vector<DynamicRelocation> copies_;                  // sorted by address
  std::vector<std::string> version_of_;                    // by dynsym index; empty: unversioned
  absl::flat_hash_map<uint64_t, uint32_t> canonical_plt_;  // address -> dynsym index of an undefined function
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_LOADER_H_
