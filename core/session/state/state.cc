#include "core/session/state/state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/chunks.h"
#include "core/base/codec.h"
#include "core/base/digest.h"
#include "core/output/saved_tables.h"
#include "core/session/state/options_fields.h"

namespace kitlink {
namespace {

constexpr char kMagic[] = "KITSTATE";
constexpr size_t kMagicSize = 8;

// What the bytes mean: any change of a struct that is written makes it another.
ContentId SchemaDigest() {
  ContentHasher hasher;
  hasher.UpdateSized(DescribeSchema(Memory()));
  hasher.UpdateSized(SchemaOf<LinkOptions>());
  hasher.UpdateSized(TablesSchema());
  return hasher.Finish();
}

// The manifest, between the magic number and the digest at the end.
struct Manifest {
  uint32_t version = kStateVersion;
  ContentId schema;
  uint64_t generation = 0;
  std::string output;
  uint16_t machine = 0;
  uint64_t sections = 0, units = 0, symbols = 0;  // ids are below these
  ContentId options;
  std::vector<ContentId> root;  // chunks of the memory but for its tables
  std::string folder, image;    // of this machine

  KITLINK_FIELDS(version, schema, generation, output, machine, sections, units, symbols, options, root, folder, image)
};

// Reads no further than it must to tell another version.
absl::StatusOr<Manifest> ParseManifest(absl::string_view text) {
  const ByteView bytes = AsBytes(text);
  if (bytes.size() < kMagicSize + sizeof(ContentId) || text.substr(0, kMagicSize) != kMagic) {
    return absl::DataLossError("the manifest is none of kitlink's, or is cut short");
  }
  const ByteView body = bytes.subspan(0, bytes.size() - sizeof(ContentId));
  ContentId digest;
  std::copy(bytes.begin() + static_cast<ptrdiff_t>(body.size()), bytes.end(), digest.bytes.begin());
  if (HashContent(body) != digest) return absl::DataLossError("the manifest is damaged");
  Decoder decoder(body.subspan(kMagicSize));
  Manifest manifest;
  if (!decoder.Get(&manifest.version, &manifest.schema)) return absl::DataLossError("the manifest makes no sense");
  if (manifest.version != kStateVersion || manifest.schema != SchemaDigest()) {
    return absl::FailedPreconditionError("another version of kitlink wrote it");
  }
  Decoder whole(body.subspan(kMagicSize));
  constexpr uint64_t kMost = Id<void>::kNone;
  if (!whole.Get(&manifest) || !whole.Done() || manifest.sections >= kMost || manifest.units >= kMost ||
      manifest.symbols >= kMost) {
    return absl::DataLossError("the manifest makes no sense");
  }
  return manifest;
}

std::string WriteManifestText(const Manifest& manifest) {
  Encoder encoder;
  encoder.PutRaw(AsBytes(absl::string_view(kMagic, kMagicSize)));
  encoder.Put(manifest);
  const ContentId digest = HashContent(AsBytes(encoder.bytes()));
  encoder.PutRaw(digest.bytes);
  return encoder.Take();
}

bool Consistent(const Memory& memory, const Manifest& manifest) {
  const size_t inputs = memory.options->inputs.size();
  return memory.library_found.size() == inputs && memory.input_ranks.size() == inputs &&
         memory.files.size() == memory.files_here.size() && memory.sections.size() == manifest.sections &&
         memory.units.size() == manifest.units && memory.symbols.size() == manifest.symbols &&
         memory.names.count() <= memory.symbols.size();
}

absl::StatusOr<std::unique_ptr<Memory>> ReadMemory(const Manifest& manifest,
                                                   const std::shared_ptr<PageSource>& source) {
  auto memory = std::make_unique<Memory>();
  memory->arch = ArchFor(manifest.machine);
  if (memory->arch == nullptr) return absl::DataLossError("it is of an unknown machine");
  absl::StatusOr<std::string> options_bytes = source->Fetch(manifest.options);
  if (!options_bytes.ok()) return options_bytes.status();
  LinkOptions options;
  Decoder options_decoder(AsBytes(*options_bytes));
  if (!options_decoder.Get(&options) || !options_decoder.Done()) return absl::DataLossError("its options make no sense");
  memory->options = SharedOptions(std::move(options));
  std::string root;
  for (const ContentId& id : manifest.root) {
    absl::StatusOr<std::string> chunk = source->Fetch(id);
    if (!chunk.ok()) return chunk.status();
    root += *chunk;
  }
  Decoder decoder(AsBytes(root), source);
  if (!decoder.Get(memory.get()) || !Consistent(*memory, manifest)) {
    return absl::DataLossError("what it says makes no sense");
  }
  absl::StatusOr<std::unique_ptr<HotTables>> tables = LoadTables(memory->options, *memory->arch, &decoder);
  if (!tables.ok()) return tables.status();
  if (!decoder.Done()) return absl::DataLossError("there is more than what it says");
  memory->tables = *std::move(tables);
  return memory;
}

// Pages of files that are what they were stay as they are.
void NoteFilesHere(Memory* memory) {
  PagedTable<FileHere, 128>& here = memory->files_here;
  here.resize(memory->files.size());
  for (size_t f = 0; f < here.size(); ++f) {
    const FileMemory& file = std::as_const(memory->files)[f];
    const FileHere& known = std::as_const(here)[f];
    if (known.stamp != file.stamp || known.settled != file.settled) here[f] = {file.stamp, file.settled};
  }
}

std::shared_ptr<PageSource> SourceOf(const Manifest& manifest, BlobStore* blobs) {
  auto source = std::make_shared<PageSource>(blobs);
  IdLimits limits;
  limits.sections = static_cast<uint32_t>(manifest.sections);
  limits.units = static_cast<uint32_t>(manifest.units);
  limits.symbols = static_cast<uint32_t>(manifest.symbols);
  source->SetLimits(limits);
  return source;
}

}  // namespace

absl::Status SaveState(const SessionFacts& facts, Memory* memory, StateStore* store, bool all_pages) {
  const absl::Status interrupted = absl::CancelledError("somebody waits");
  if (!memory->names.Freeze([&] { return store->Interrupted(); })) return interrupted;
  NoteFilesHere(memory);
  Manifest manifest;
  manifest.schema = SchemaDigest();
  manifest.generation = facts.generation;
  manifest.output = facts.output;
  manifest.image = facts.image;
  manifest.folder = facts.folder;
  manifest.machine = memory->arch->elf_machine();
  manifest.sections = memory->sections.size();
  manifest.units = memory->units.size();
  manifest.symbols = memory->symbols.size();
  Encoder root(store, all_pages);
  root.Put(*memory);
  if (store->Interrupted()) return interrupted;
  SaveTables(*memory->tables, &root);
  if (store->Interrupted()) return interrupted;
  Encoder options;
  options.Put(*memory->options);
  manifest.options = root.PutBlob(AsBytes(options.bytes()));
  for (ByteView chunk : CutByContent(AsBytes(root.bytes()))) {
    manifest.root.push_back(root.PutBlob(chunk));
  }
  if (!root.status().ok()) return root.status();
  return store->WriteManifest(WriteManifestText(manifest), facts.image);
}

absl::StatusOr<RestoredState> LoadState(absl::string_view text, BlobStore* store) {
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  if (!manifest.ok()) return manifest.status();
  RestoredState state;
  state.source = SourceOf(*manifest, store);
  absl::StatusOr<std::unique_ptr<Memory>> memory = ReadMemory(*manifest, state.source);
  if (!memory.ok()) return memory.status();
  state.memory = *std::move(memory);
  // Paths are needed at once anyway, to look at the inputs.
  Memory& known = *state.memory;
  for (uint32_t f = 0; f < known.files.size(); ++f) {
    FileMemory& file = known.files[f];
    const FileHere& here = std::as_const(known.files_here)[f];
    file.stamp = here.stamp;
    file.settled = here.settled;
    if (!file.gone) known.file_of.emplace(file.path, f);
  }
  state.facts = {manifest->generation, std::move(manifest->output), std::move(manifest->image),
                 std::move(manifest->folder)};
  return state;
}

absl::StatusOr<std::vector<ContentId>> ListBlobs(absl::string_view manifest, BlobStore* blobs) {
  const absl::StatusOr<Manifest> parsed = ParseManifest(manifest);
  if (!parsed.ok()) return parsed.status();
  const std::shared_ptr<PageSource> source = SourceOf(*parsed, blobs);
  source->NoteIds();
  const absl::StatusOr<std::unique_ptr<Memory>> memory = ReadMemory(*parsed, source);
  if (!memory.ok()) return memory.status();
  return source->TakeNoted();
}

}  // namespace kitlink
