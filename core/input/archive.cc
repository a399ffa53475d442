#include "core/input/archive.h"

#include <ar.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/parallel.h"
#include "core/input/file_type.h"

namespace kitlink {
namespace {

static_assert(sizeof(ar_hdr) == 60);

uint32_t BigEndian32(const uint8_t* p) { return __builtin_bswap32(Load<uint32_t>(p)); }
uint64_t BigEndian64(const uint8_t* p) { return __builtin_bswap64(Load<uint64_t>(p)); }

template <size_t N>
absl::string_view Field(const char (&field)[N]) {
  return absl::StripTrailingAsciiWhitespace(absl::string_view(field, N));
}

class ArchiveReader {
 public:
  explicit ArchiveReader(Archive& archive) : archive_(archive), bytes_(archive.file->bytes()) {}

  absl::Status Read(FileSource& files, std::vector<OpenedFile>& opened);

 private:
  absl::Status Error(absl::string_view text) const {
    return absl::InvalidArgumentError(absl::StrCat(archive_.path, ": ", text));
  }
  absl::Status ErrorAt(uint64_t offset, absl::string_view text) const {
    return Error(absl::StrCat("archive member at offset ", offset, " ", text));
  }

  absl::Status ReadMembers();
  absl::Status ReadMember(uint64_t* at);
  // Whether the member is the index or the name table; sets what it holds if so.
  bool TakeSpecial(absl::string_view name, ByteView data);
  absl::Status SetName(uint64_t at, absl::string_view field, ArchiveMember& member);
  absl::Status OpenThinMembers(FileSource& files, std::vector<OpenedFile>& opened);
  absl::Status ReadIndex();
  absl::Status ReadIndexNames(uint64_t count, int width);

  Archive& archive_;
  const ByteView bytes_;
  ByteView index_;
  bool has_index_ = false;
  int index_width_ = 4;  // bytes of a number in the index
  ByteView long_names_;
  std::vector<uint64_t> header_offsets_;  // of the members, ascending
};

absl::Status ArchiveReader::Read(FileSource& files, std::vector<OpenedFile>& opened) {
  if (absl::Status status = ReadMembers(); !status.ok()) return status;
  if (archive_.thin) {
    if (absl::Status status = OpenThinMembers(files, opened); !status.ok()) return status;
  }
  if (has_index_) return ReadIndex();
  ParallelFor(archive_.members.size(), [this](size_t i) {
    archive_.members[i].defines = DefinedNames(archive_.members[i].bytes);
  });
  return absl::OkStatus();
}

absl::Status ArchiveReader::ReadMembers() {
  archive_.thin = DetectFileType(bytes_) == FileType::kThinArchive;
  if (!archive_.thin && DetectFileType(bytes_) != FileType::kArchive) return Error("is not an archive");
  // One byte of padding may be missing at the end.
  for (uint64_t at = SARMAG; at < bytes_.size();) {
    if (absl::Status status = ReadMember(&at); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ArchiveReader::ReadMember(uint64_t* at) {
  const uint64_t start = *at;
  if (!InBounds(start, sizeof(ar_hdr), bytes_.size())) return ErrorAt(start, "is cut short");
  const ar_hdr header = Load<ar_hdr>(bytes_.data() + start);
  if (std::memcmp(header.ar_fmag, ARFMAG, 2) != 0) return ErrorAt(start, "has no valid header");
  uint64_t size = 0;
  if (!absl::SimpleAtoi(Field(header.ar_size), &size)) return ErrorAt(start, "has no valid size");
  const absl::string_view name = Field(header.ar_name);
  const uint64_t data_at = start + sizeof(ar_hdr);
  const bool special = name == "/" || name == "//" || name == "/SYM64/";
  // Members of a thin archive are elsewhere; its own tables are not.
  if (archive_.thin && !special) {
    ArchiveMember member;
    if (absl::Status status = SetName(start, name, member); !status.ok()) return status;
    archive_.members.push_back(std::move(member));
    header_offsets_.push_back(start);
    *at = data_at;
    return absl::OkStatus();
  }
  if (!InBounds(data_at, size, bytes_.size())) return ErrorAt(start, "reaches past the end of the file");
  const ByteView data = bytes_.subspan(data_at, size);
  *at = data_at + size + (size & 1);
  if (TakeSpecial(name, data)) return absl::OkStatus();
  ArchiveMember member;
  member.offset = data_at;
  member.bytes = data;
  member.file = archive_.file;
  if (absl::Status status = SetName(start, name, member); !status.ok()) return status;
  if (absl::StartsWith(member.name, "__.SYMDEF")) return absl::OkStatus();  // BSD's index, of the machine's byte order
  archive_.members.push_back(std::move(member));
  header_offsets_.push_back(start);
  return absl::OkStatus();
}

bool ArchiveReader::TakeSpecial(absl::string_view name, ByteView data) {
  if (name == "//") {
    long_names_ = data;
    return true;
  }
  if (name != "/" && name != "/SYM64/") return false;
  // Microsoft's tools write a second "/" of another layout; the first one counts.
  if (!has_index_) {
    has_index_ = true;
    index_ = data;
    index_width_ = name == "/" ? 4 : 8;
  }
  return true;
}

absl::Status ArchiveReader::SetName(uint64_t at, absl::string_view field, ArchiveMember& member) {
  uint64_t number = 0;
  if (absl::StartsWith(field, "#1/") && absl::SimpleAtoi(field.substr(3), &number)) {
    if (archive_.thin || number > member.bytes.size()) return ErrorAt(at, "has no valid name");
    const absl::string_view padded = AsString(member.bytes.subspan(0, number));
    member.name = std::string(padded.substr(0, padded.find('\0')));
    member.bytes = member.bytes.subspan(number);
    member.offset += number;
    return absl::OkStatus();
  }
  if (absl::StartsWith(field, "/")) {
    if (!absl::SimpleAtoi(field.substr(1), &number) || number >= long_names_.size()) {
      return ErrorAt(at, "has no valid name");
    }
    const absl::string_view rest = AsString(long_names_).substr(number);
    absl::string_view name = rest.substr(0, rest.find('\n'));
    absl::ConsumeSuffix(&name, "/");
    member.name = std::string(name);
    return absl::OkStatus();
  }
  absl::ConsumeSuffix(&field, "/");
  member.name = std::string(field);
  return absl::OkStatus();
}

absl::Status ArchiveReader::OpenThinMembers(FileSource& files, std::vector<OpenedFile>& opened) {
  const size_t slash = archive_.path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : archive_.path.substr(0, slash + 1);
  std::vector<absl::Status> results(archive_.members.size());
  std::vector<OpenedFile> found(archive_.members.size());
  ParallelFor(archive_.members.size(), [&](size_t i) {
    ArchiveMember& member = archive_.members[i];
    const std::string path = absl::StartsWith(member.name, "/") ? member.name : folder + member.name;
    absl::StatusOr<std::shared_ptr<InputBytes>> file = files.Open(path);
    if (!file.ok()) {
      results[i] = file.status();
      return;
    }
    member.file = *std::move(file);
    member.bytes = member.file->bytes();
    found[i].path = path;
    found[i].role = OpenedFile::Role::kThinMember;
    found[i].stamp = member.file->stamp();
  });
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].ok()) {
      return absl::Status(results[i].code(), absl::StrCat(archive_.path, "(", archive_.members[i].name,
                                                          "): cannot open the member: ", results[i].message()));
    }
    opened.push_back(std::move(found[i]));
  }
  return absl::OkStatus();
}

// Count, that many header offsets, that many names, all big-endian.
absl::Status ArchiveReader::ReadIndex() {
  const int width = index_width_;
  if (index_.size() < static_cast<size_t>(width)) {
    return index_.empty() ? absl::OkStatus() : Error("the archive index is cut short");
  }
  const uint64_t count = width == 4 ? BigEndian32(index_.data()) : BigEndian64(index_.data());
  if (count > (index_.size() - width) / width) return Error("the archive index is cut short");
  return ReadIndexNames(count, width);
}

absl::Status ArchiveReader::ReadIndexNames(uint64_t count, int width) {
  struct Row {
    absl::string_view name;
    uint32_t member;
  };
  std::vector<Row> rows(count);
  std::vector<uint32_t> names_of(archive_.members.size());
  const uint8_t* offsets = index_.data() + width;
  absl::string_view names = AsString(index_.subspan(width + count * width));
  uint64_t last_offset = ~uint64_t{0};
  uint32_t last_member = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = width == 4 ? BigEndian32(offsets + i * 4) : BigEndian64(offsets + i * 8);
    if (offset != last_offset) {  // names of one member stand together
      auto found = std::lower_bound(header_offsets_.begin(), header_offsets_.end(), offset);
      if (found == header_offsets_.end() || *found != offset) return Error("the archive index names no member");
      last_offset = offset;
      last_member = static_cast<uint32_t>(found - header_offsets_.begin());
    }
    const size_t length = strnlen(names.data(), names.size());
    if (length == names.size()) return Error("the archive index is cut short");
    rows[i].name = names.substr(0, length);
    rows[i].member = last_member;
    ++names_of[last_member];
    names.remove_prefix(length + 1);
  }
  for (size_t i = 0; i < names_of.size(); ++i) archive_.members[i].defines.reserve(names_of[i]);
  for (const Row& row : rows) archive_.members[row.member].defines.push_back(row.name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Archive>> ReadArchive(std::string path, std::shared_ptr<InputBytes> file,
                                                     FileSource& files, std::vector<OpenedFile>& opened) {
  auto archive = std::make_unique<Archive>();
  archive->path = std::move(path);
  archive->file = std::move(file);
  const absl::Status status = ArchiveReader(*archive).Read(files, opened);
  if (archive->file->torn()) {
    return absl::AbortedError(absl::StrCat(archive->path, ": was cut short while it was being read"));
  }
  if (!status.ok()) return status;
  return archive;
}

absl::StatusOr<std::unique_ptr<ObjectFile>> ReadArchiveMember(const Archive& archive, const ArchiveMember& member) {
  return ReadObject(archive.path, member.name, member.file, member.bytes);
}

}  // namespace kitlink
