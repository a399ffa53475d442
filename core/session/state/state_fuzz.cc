// A fuzzer for everything that reads state from disk. The first byte of the input picks what is read; the rest is one
// text, or, where there are pages, texts with a length of two bytes each: the first is the root, and a digest in it or in
// a page leads to the text whose number its first byte is, whatever its digest.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/codec.h"
#include "core/base/page_source.h"
#include "core/output/saved_tables.h"
#include "core/session/memory.h"
#include "core/session/state/options_fields.h"
#include "core/session/state/state.h"

namespace kitlink {
namespace {

class Texts : public StateStore {
 public:
  explicit Texts(ByteView data) {
    while (data.size() >= 2) {
      const size_t size = std::min<size_t>(Load<uint16_t>(data.data()), data.size() - 2);
      texts_.emplace_back(AsString(data.subspan(2, size)));
      data.remove_prefix(2 + size);
    }
    if (texts_.empty()) texts_.emplace_back();
  }
  absl::Status Put(const ContentId&, ByteView) override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Get(const ContentId& id) override {
    if (id.bytes[0] >= texts_.size()) return absl::NotFoundError("");
    return texts_[id.bytes[0]];
  }
  absl::StatusOr<std::string> ReadManifest() override { return texts_[0]; }
  absl::Status WriteManifest(absl::string_view, absl::string_view) override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Record() override { return absl::UnimplementedError(""); }
  absl::Status TakeUp(absl::string_view, absl::string_view) override { return absl::UnimplementedError(""); }
  ByteView root() const { return AsBytes(texts_[0]); }

 private:
  std::vector<std::string> texts_;
};

std::shared_ptr<PageSource> Unchecked(Texts* texts) {
  auto source = std::make_shared<PageSource>(texts, /*checked=*/false);
  source->SetLimits({4, 4, 64});
  return source;
}

// Looks at everything that relinks look at.
uint64_t Walk(const Memory& memory) {
  uint64_t sum = memory.names.Find("main").value;
  const auto some = [](size_t size) { return std::min<size_t>(size, 5000); };
  for (size_t u = 0; u < some(memory.units.size()); ++u) {
    const UnitMemory& unit = memory.units[u];
    for (const AtomMemory& atom : unit.atoms) {
      sum += atom.name.size() + (atom.section.valid() && atom.section.value < memory.sections.size());
    }
    for (const GlobalMemory& global : unit.globals) sum += memory.symbols[global.symbol.value].size;
  }
  for (size_t s = 0; s < some(memory.symbols.size()); ++s) {
    const SymbolId id(static_cast<uint32_t>(s));
    if (memory.symbols[s].owner.valid()) sum += memory.units[memory.symbols[s].owner.value].atoms.size();
    for (UnitId unit : memory.users.Of(id)) sum += unit.value;
  }
  for (size_t f = 0; f < some(memory.files.size()); ++f) sum += memory.files[f].path.size();
  for (size_t s = 0; s < some(memory.sections.size()); ++s) {
    const SectionMemory& section = memory.sections[s];
    for (const RowMemory& row : section.row_list) sum += row.atom;
    for (const Room& room : section.space.holes()) sum += room.size;
  }
  for (const MergedMemory& merged : memory.merged) sum += merged.offsets.Find({1, 2}).value_or(0);
  return sum;
}

void ReadMemory(ByteView data) {
  Texts texts(data);
  Decoder decoder(texts.root(), Unchecked(&texts));
  Memory memory;
  if (decoder.Get(&memory)) Walk(memory);
}

void ReadTables(ByteView data) {
  Texts texts(data);
  Decoder decoder(texts.root(), Unchecked(&texts));
  const auto tables = LoadTables(LinkOptions(), X86_64(), &decoder);
  if (!tables.ok()) return;
  for (uint32_t s = 0; s < 64; ++s) {
    TargetValue value;
    (*tables)->AddCells(SymbolId(s), &value);
  }
}

// What is read has one encoding.
void ReadOptions(ByteView data) {
  Decoder decoder(data);
  LinkOptions options;
  if (!decoder.Get(&options) || !decoder.Done()) return;
  Encoder encoder;
  encoder.Put(options);
  if (AsBytes(encoder.bytes()) != data) __builtin_trap();
}

void ReadManifest(ByteView data) {
  Texts texts(data);
  LoadState(*texts.ReadManifest(), &texts).status().IgnoreError();
}

}  // namespace
}  // namespace kitlink

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const kitlink::ByteView rest(data + 1, size - 1);
  switch (data[0] % 4) {
    case 0: kitlink::ReadMemory(rest); break;
    case 1: kitlink::ReadTables(rest); break;
    case 2: kitlink::ReadOptions(rest); break;
    case 3: kitlink::ReadManifest(rest); break;
  }
  return 0;
}
