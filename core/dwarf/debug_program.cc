#include "core/dwarf/debug_program.h"

#include <elf.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace kitlink::dwarf {
namespace {

constexpr char kFirst[] = R"(#define SQUARE(x) ((x)*(x))
struct point { int x, y; };
extern int work(struct point *p, int n);
extern int boxes(int n);
int global_a = 3;
static int twice(int v) { int t = v * 2; return t + global_a; }
__attribute__((section(".text.other"), noinline)) int cold_a(int k) { return twice(k) + SQUARE(k); }
int main(int argc, char **argv) {
  struct point p = { argc, 7 };
  int total = 0;
  for (int i = 0; i < 4; i++) total += work(&p, i) + cold_a(i);
  (void)argv;
  return total + boxes(3) == 123456;
}
)";

constexpr char kSecond[] = R"(#define CUBE(x) ((x)*(x)*(x))
struct point { int x, y; };
enum color { RED, GREEN, BLUE };
enum color favourite = GREEN;
static int helper(struct point *p, int n) {
  int local = p->x * n + CUBE(n);
  if (local > 3) local -= favourite;
  return local;
}
__attribute__((section(".text.other2"), noinline)) int cold_b(int k) { return k * favourite; }
int work(struct point *p, int n) {
  int result = helper(p, n);
  p->y += result;
  return result + cold_b(n) + p->y;
}
)";

constexpr char kThird[] = R"(namespace demo {
struct Item { int value; Item *next; };
template <typename T> struct Box { T *first = nullptr; int sum() const; };
template <typename T> int Box<T>::sum() const {
  int total = 0;
  for (T *i = first; i != nullptr; i = i->next) total += i->value;
  return total;
}
}
extern "C" int boxes(int n) {
  demo::Item item{n, nullptr};
  demo::Box<demo::Item> box;
  box.first = &item;
  return box.sum();
}
)";

const Elf64_Shdr* SectionTable(const std::vector<uint8_t>& image, uint64_t& count, const char*& names) {
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* table = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  count = header->e_shnum;
  names = reinterpret_cast<const char*>(image.data() + table[header->e_shstrndx].sh_offset);
  return table;
}

uint64_t SymbolValue(std::vector<uint8_t>& image, const std::string& name, uint64_t missing) {
  const MutableBytes symbols = FindSection(image, ".symtab");
  const MutableBytes names = FindSection(image, ".strtab");
  for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols.size(); at += sizeof(Elf64_Sym)) {
    const auto symbol = Load<Elf64_Sym>(symbols.data() + at);
    if (name == reinterpret_cast<const char*>(names.data() + symbol.st_name)) return symbol.st_value;
  }
  return missing;
}

std::string HoleName(const std::string& section, int number) {
  return absl::StrCat("hole", number, absl::StrReplaceAll(section, {{".", "_"}}));
}

}  // namespace

CommandResult RunCommand(const std::string& folder, const std::string& command) {
  CommandResult result;
  FILE* pipe = popen(absl::StrCat("cd '", folder, "' && { ", command, "\n} 2>&1 </dev/null").c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.output.append(buffer, n);
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return result;
}

bool HaveTool(const std::string& tool) { return RunCommand("/", absl::StrCat("command -v ", tool)).status == 0; }

MutableBytes FindSection(std::vector<uint8_t>& image, const std::string& name) {
  uint64_t count;
  const char* names;
  const Elf64_Shdr* table = SectionTable(image, count, names);
  for (uint64_t i = 0; i < count; ++i) {
    if (name == names + table[i].sh_name) return {image.data() + table[i].sh_offset, table[i].sh_size};
  }
  return {};
}

DebugProgram::DebugProgram(const std::string& compiler, const std::string& flags) : compiler_(compiler) {
  std::string pattern = (std::filesystem::temp_directory_path() / "debug_program.XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    error_ = "no temporary folder";
    return;
  }
  folder_ = pattern;
  std::ofstream(folder_ + "/a.c") << kFirst;
  std::ofstream(folder_ + "/b.c") << kSecond;
  std::ofstream(folder_ + "/c.cc") << kThird;
  for (const char* source : {"a.c", "b.c", "c.cc"}) {
    const std::string object(1, source[0]);
    const CommandResult result = RunCommand(
        folder_, absl::StrCat(compiler, " ", flags, " -fno-pie -ffunction-sections -c ", source, " -o ", object, ".o"));
    if (result.status != 0) error_ = result.output;
  }
}

DebugProgram::~DebugProgram() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

bool DebugProgram::HasSection(const std::string& name) const {
  for (const char* object : {"a.o", "b.o", "c.o"}) {
    std::vector<uint8_t> image = Read(object);
    if (!FindSection(image, name).empty()) return true;
  }
  return false;
}

std::vector<Hole> DebugProgram::Link(const std::string& output, const std::map<std::string, uint64_t>& holes) {
  std::string behind_first, at_end;
  for (const auto& [section, size] : holes) {
    for (int number : {1, 2}) {
      absl::StrAppend(number == 1 ? &behind_first : &at_end, ".section ", section, ",\"\",@progbits\n",
                      HoleName(section, number), ": .zero ", size, "\n");
    }
  }
  std::ofstream(folder_ + "/hole1.s") << behind_first;
  std::ofstream(folder_ + "/hole2.s") << at_end;
  const CommandResult result = RunCommand(
      folder_, absl::StrCat("as hole1.s -o hole1.o && as hole2.s -o hole2.o && ", compiler_,
                            " -no-pie -fuse-ld=bfd a.o hole1.o b.o c.o hole2.o -o ", output));
  if (result.status != 0) {
    error_ = result.output;
    return {};
  }
  std::vector<uint8_t> image = Read(output);
  std::vector<Hole> found;
  for (const auto& [section, size] : holes) {
    for (int number : {1, 2}) found.push_back({section, SymbolValue(image, HoleName(section, number), ~0ull), size});
  }
  return found;
}

std::vector<uint8_t> DebugProgram::Read(const std::string& name) const {
  std::ifstream in(folder_ + "/" + name, std::ios::binary);
  return std::vector<uint8_t>(std::istreambuf_iterator<char>(in), {});
}

void DebugProgram::Write(const std::string& name, const std::vector<uint8_t>& bytes) const {
  std::ofstream out(folder_ + "/" + name, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  std::filesystem::permissions(folder_ + "/" + name, std::filesystem::perms::owner_all);
}

}  // namespace kitlink::dwarf
