// Filler in real programs: every reader must say of a program with holes what it says of one without.
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/dwarf/debug_program.h"
#include "core/dwarf/padding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::dwarf {
namespace {

struct Config {
  const char* compiler;
  const char* flags;
  bool llvm_verify;  // llvm-dwarfdump 14 never ends on gcc's location views and type units, with or without holes
  bool llvm_dump;    // and cannot read the former
};

constexpr Config kConfigs[] = {
    {"gcc", "-O0 -g3 -gdwarf-5 -gpubnames", true, true},
    {"gcc", "-O1 -g -gdwarf-5 -fno-asynchronous-unwind-tables", false, false},
    {"gcc", "-O0 -g3 -gdwarf-4 -ggnu-pubnames -fdebug-types-section -fno-asynchronous-unwind-tables", false, false},
    {"gcc", "-O0 -g3 -gdwarf-4", true, true},
    {"gcc", "-O1 -g -gdwarf-4", false, false},
    {"clang", "-O1 -g -gdwarf-5 -ggnu-pubnames -fdebug-macro -gdwarf-aranges -fno-asynchronous-unwind-tables", true,
     true},
    {"clang", "-O1 -g -gdwarf-4 -gpubnames -fdebug-types-section -fno-asynchronous-unwind-tables", true, true},
};

constexpr const char* kSections[] = {
    ".debug_info",        ".debug_types",       ".debug_abbrev",  ".debug_line", ".debug_str",     ".debug_line_str",
    ".debug_rnglists",    ".debug_loclists",    ".debug_addr",    ".debug_str_offsets", ".debug_ranges", ".debug_loc",
    ".debug_frame",       ".debug_macro",       ".debug_pubnames", ".debug_pubtypes", ".debug_gnu_pubnames",
    ".debug_gnu_pubtypes", ".debug_aranges"};

enum Sizes { kSweep, kOneLarge };

uint64_t HoleSize(const std::string& section, Sizes sizes) {
  const Filler* filler = Filler::For(section);
  if (section == ".debug_addr" || section == ".debug_str_offsets" || filler == nullptr) {
    return sizes == kSweep ? 16 : 160 * 16;  // in place, as one
  }
  if (sizes == kOneLarge) return (filler->min_hole() + 300000) / 16 * 16;
  uint64_t total = section == ".debug_abbrev" ? PaddingAbbrev().size() : 0;
  for (uint64_t k = 0; k <= 70; ++k) total += filler->min_hole() + k * filler->granularity();
  return total;
}

class PaddingTools : public testing::TestWithParam<std::tuple<Config, Sizes>> {
 protected:
  // Fills `hole` with fillers of every size from the smallest on, or with one.
  void FillHole(const Hole& hole, MutableBytes bytes, uint64_t abbrev, Sizes sizes) {
    const Filler* filler = Filler::For(hole.section);
    uint64_t at = hole.offset;
    if (hole.section == ".debug_abbrev") {
      std::memcpy(bytes.data(), PaddingAbbrev().data(), PaddingAbbrev().size());
      bytes.remove_prefix(PaddingAbbrev().size());
    }
    for (uint64_t k = 0; sizes == kSweep && k <= 70; ++k) {
      const uint64_t size = filler->min_hole() + k * filler->granularity();
      filler->Fill(bytes.first(size), at, abbrev);
      bytes.remove_prefix(size);
      at += size;
    }
    filler->Fill(bytes, at, abbrev);
  }

  // Lengthens the table of unit `object`, which lies before `hole`.
  void Lengthen(DebugProgram& program, const Hole& hole, MutableBytes section, const char* object) {
    std::vector<uint8_t> unit = program.Read(object);
    const uint64_t used = FindSection(unit, hole.section).size();
    ASSERT_NE(used, 0u) << hole.section;
    ASSERT_TRUE(PadInPlace(hole.section, section.subspan(hole.offset - used, used + hole.size), used)) << hole.section;
  }

  void Patch(DebugProgram& program, const std::vector<Hole>& holes, Sizes sizes) {
    std::vector<uint8_t> image = program.Read("holes");
    uint64_t abbrev = 0, unit = 0;
    for (const Hole& hole : holes) {
      if (hole.section == ".debug_abbrev" && abbrev == 0) abbrev = hole.offset;
      if (hole.section == ".debug_info" && unit == 0) unit = hole.offset;
    }
    std::map<std::string, int> seen;
    for (const Hole& hole : holes) {
      const MutableBytes section = FindSection(image, hole.section);
      ASSERT_TRUE(InBounds(hole.offset, hole.size, section.size())) << hole.section;
      const MutableBytes bytes = section.subspan(hole.offset, hole.size);
      if (hole.section == ".debug_aranges") {
        if (seen[hole.section]++ == 0) {
          Lengthen(program, hole, section, "a.o");
        } else if (hole.size < 32) {
          Lengthen(program, hole, section, "c.o");
        } else {
          ASSERT_TRUE(FillAranges(bytes, unit));
        }
      } else if (hole.section == ".debug_addr" || hole.section == ".debug_str_offsets") {
        Lengthen(program, hole, section, seen[hole.section]++ == 0 ? "a.o" : "c.o");
      } else {
        FillHole(hole, bytes, abbrev, sizes);
      }
    }
    program.Write("holes", image);
  }
};

// Complaints in a reader's output; the last two are no more than readelf's surprise that a list is used by nobody.
std::vector<std::string> Complaints(const std::string& output) {
  std::vector<std::string> found;
  for (absl::string_view line : absl::StrSplit(output, '\n')) {
    if (absl::StrContains(line, "There is a hole [") || absl::StrContains(line, "unused bytes at the end of section")) {
      continue;
    }
    const bool complaint = absl::StrContains(line, "arning") || absl::StrContains(line, "error:") ||
                           absl::StrContains(line, "orrupt") || absl::StrContains(line, "nvalid") ||
                           absl::StrContains(line, "readelf:") || absl::StrContains(line, "<decoding error>");
    if (complaint) found.emplace_back(line);
  }
  return found;
}

std::string OutputOf(const DebugProgram& program, const std::string& tool, const std::string& name) {
  const CommandResult result = RunCommand(program.folder(), absl::StrCat("timeout 20 ", tool, " ", name));
  return absl::StrReplaceAll(absl::StrCat(result.output, "\nstatus ", result.status),
                             {{absl::StrCat("/", name), "/PROGRAM"}, {absl::StrCat(name, ":"), "PROGRAM:"}});
}

TEST_P(PaddingTools, StaySilent) {
  const auto& [config, sizes] = GetParam();
  if (!HaveTool(config.compiler)) GTEST_SKIP() << "no " << config.compiler;
  DebugProgram program(config.compiler, config.flags);
  ASSERT_TRUE(program.ok()) << program.error();
  std::map<std::string, uint64_t> sizes_by_section;
  for (const char* section : kSections) {
    if (program.HasSection(section)) sizes_by_section[section] = HoleSize(section, sizes);
  }
  program.Link("plain", {});
  const std::vector<Hole> holes = program.Link("holes", sizes_by_section);
  ASSERT_TRUE(program.ok()) << program.error();
  Patch(program, holes, sizes);

  std::vector<std::string> dumps = {
      "readelf -W --debug-dump=info,abbrev,aranges,rawline,pubnames,macro,Ranges,loc,str,frames,addr,str-offsets",
      "readelf -W --debug-dump=decodedline", "eu-readelf -N --debug-dump"};
  if (config.llvm_verify) dumps.push_back("llvm-dwarfdump --verify");
  if (config.llvm_dump) dumps.push_back("llvm-dwarfdump -a");
  for (const std::string& dump : dumps) {
    if (!HaveTool(dump.substr(0, dump.find(' ')))) continue;
    // Some readers complain of the compiler's own work.
    EXPECT_THAT(Complaints(OutputOf(program, dump, "plain")),
                testing::IsSupersetOf(Complaints(OutputOf(program, dump, "holes"))))
        << dump;
  }
  std::string addresses;
  for (const char* function : {"main", "work", "cold_a", "cold_b", "boxes"}) {
    absl::StrAppend(&addresses, " 0x$(nm plain | awk '$3 == \"", function, "\" {print $1}')");
  }
  std::vector<std::string> readers = {absl::StrCat("addr2line -fi", addresses, " -e"),
                                      absl::StrCat("eu-addr2line -fi", addresses, " -e")};
  readers.push_back(
      "gdb -batch -nx -iex 'set debuginfod enabled off' -ex 'break b.c:12' -ex 'break boxes' -ex 'info line twice' "
      "-ex 'ptype struct point' -ex 'ptype demo::Item' -ex 'ptype work' -ex 'print favourite' -ex 'list cold_a' "
      "-ex 'info scope work' -ex 'info functions -n cold' -ex 'info types color' -ex run -ex bt -ex 'info locals' "
      "-ex 'macro expand SQUARE(2)' -ex 'info source' -ex kill");
  for (const std::string& reader : readers) {
    if (!HaveTool(reader.substr(0, reader.find(' ')))) continue;
    const std::string pattern = " | sed 's/process [0-9]*/process/'";
    const std::string plain = OutputOf(program, reader, "plain" + pattern);
    // addr2line 2.40 finds nothing in what clang makes for DWARF 4.
    EXPECT_TRUE(absl::StrContains(plain, "b.c") || !absl::StartsWith(reader, "gdb")) << plain;
    EXPECT_EQ(absl::StrReplaceAll(plain, {{"plain", "PROGRAM"}}),
              absl::StrReplaceAll(OutputOf(program, reader, "holes" + pattern), {{"holes", "PROGRAM"}}));
  }
}

INSTANTIATE_TEST_SUITE_P(All, PaddingTools,
                         testing::Combine(testing::ValuesIn(kConfigs), testing::Values(kSweep, kOneLarge)));

}  // namespace
}  // namespace kitlink::dwarf
