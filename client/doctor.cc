#include "client/doctor.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "client/answers.h"
#include "client/object_names.h"

namespace kitlink::client {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Some names, and how many more there are.
template <typename List>
std::string Some(const List& names) {
  std::string text;
  size_t count = 0;
  for (const std::string& name : names) {
    if (++count <= 4) text += (text.empty() ? "" : ", ") + name;
  }
  return count <= 4 ? text : text + " and " + std::to_string(count - 4) + " more";
}

std::set<std::string> Missing(const std::set<std::string>& wanted, const std::set<std::string>& there) {
  std::set<std::string> missing;
  std::set_difference(wanted.begin(), wanted.end(), there.begin(), there.end(), std::inserter(missing, missing.begin()));
  return missing;
}

// A folder that goes away again.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "kitlink-doctor-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Scratch() {
    std::error_code code;
    if (!path_.empty()) fs::remove_all(path_, code);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

bool IsSource(const std::string& word) {
  static constexpr std::string_view kEndings[] = {".c", ".cc", ".cpp", ".cxx", ".c++", ".C", ".m", ".mm", ".i", ".ii", ".S", ".s"};
  return !StartsWith(word, "-") && std::any_of(std::begin(kEndings), std::end(kEndings), [&](std::string_view ending) {
    return word.size() > ending.size() && word.compare(word.size() - ending.size(), ending.size(), ending) == 0;
  });
}

// A compile command, without where its object and its list of dependencies go.
struct Compile {
  Words words;
  size_t source = 0;       // index in `words`
  bool compiles = false;   // -c
  bool lists = false;      // dependencies, -MD or -MMD
  bool lists_all = false;  // those of the system, too

  static Compile Read(const Words& command) {
    Compile result;
    for (size_t i = 0; i < command.size(); ++i) {
      const std::string& word = command[i];
      const bool value_follows = word == "-o" || word == "-MF" || word == "-MT" || word == "-MQ";
      if (value_follows) {
        ++i;
        continue;
      }
      if (StartsWith(word, "-o") || StartsWith(word, "-MF") || StartsWith(word, "-MT") || StartsWith(word, "-MQ") || word == "-MP") continue;
      if (word == "-MD" || word == "-MMD") {
        result.lists = true;
        result.lists_all |= word == "-MD";
        continue;
      }
      if (word == "-c") result.compiles = true;
      if (i > 0 && IsSource(word) && result.source == 0) result.source = result.words.size();
      result.words.push_back(word);
    }
    return result;
  }
};

class Examination {
 public:
  explicit Examination(const Words& command) : compile_(Compile::Read(command)) {}

  std::vector<Finding> Run() {
    if (!compile_.compiles || compile_.source == 0) {
      Say(Finding::kUnknown, "command", "this compiles no single source to an object: there must be a -c and a source");
      return findings_;
    }
    if (scratch_.path().empty()) {
      Say(Finding::kUnknown, "command", "there is no room for temporary files");
      return findings_;
    }
    // Each with the same flags: compilers write them down in debug information.
    if (!Make("first.o", compile_.words, {})) {
      Say(Finding::kUnknown, "command", "it does not compile: " + said_.substr(0, said_.find('\n')));
      return findings_;
    }
    first_ = ReadFile(scratch_.path() / "first.o");
    names_ = ReadObjectNames(first_);
    CheckForm();
    CheckDeterminism();
    CheckFolders();
    CheckUnrelatedEdit();
    CheckDependencies();
    return findings_;
  }

 private:
  void Say(Finding::Grade grade, const char* check, std::string text) { findings_.push_back({grade, check, std::move(text)}); }

  // Compiles to the same path each time, then names the object NAME. What is said is in said_.
  bool Make(const std::string& name, Words words, const Words& more, const std::string& folder = "") {
    const fs::path object = scratch_.path() / "object.o";
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"-o", object.string()});
    if (!Execute(words, folder)) return false;
    std::error_code code;
    fs::rename(object, scratch_.path() / name, code);
    return !code;
  }

  bool Execute(const Words& words, const std::string& folder) {
    said_.clear();
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) return false;
    const pid_t child = fork();
    if (child == 0) {
      const int nothing = open("/dev/null", O_RDWR);
      dup2(nothing, 0);
      dup2(nothing, 1);
      dup2(out[1], 2);
      if (!folder.empty()) {
        if (chdir(folder.c_str()) != 0) _exit(126);
        setenv("PWD", folder.c_str(), 1);
      }
      setenv("LC_ALL", "C", 1);
      std::vector<char*> arguments;
      for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
      arguments.push_back(nullptr);
      execvp(arguments[0], arguments.data());
      const std::string failed = words[0] + ": cannot be run\n";
      [[maybe_unused]] const ssize_t written = write(2, failed.data(), failed.size());
      _exit(127);
    }
    close(out[1]);
    char part[4096];
    for (ssize_t size = 1; child > 0 && size != 0;) {
      size = read(out[0], part, sizeof(part));
      if (size < 0 && errno != EINTR) break;
      if (size > 0) said_.append(part, static_cast<size_t>(size));
    }
    close(out[0]);
    int status = 1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  void CheckForm() {
    if (names_.bitcode) {
      return Say(Finding::kBad, "object", "it is made for a link-time optimiser, which looks at the whole program: no -flto");
    }
    if (!names_.object) return Say(Finding::kBad, "object", "it is no ELF object of 64 bits");
    if (!names_.shared_functions.empty()) {
      Say(Finding::kNote, "sections", "functions share a section (" + Some(names_.shared_functions) + "): with -ffunction-sections one that grows does not shift the others");
    } else if (!names_.shared_data.empty()) {
      Say(Finding::kNote, "sections", "variables share a section (" + Some(names_.shared_data) + "): with -fdata-sections one that grows does not shift the others");
    } else {
      Say(Finding::kGood, "sections", "functions and variables have sections of their own");
    }
    if (names_.compressed) {
      Say(Finding::kNote, "debug", "debug sections are compressed: without -gz there is less to do for each relink");
    } else {
      Say(names_.debug ? Finding::kGood : Finding::kNote, "debug", names_.debug ? "there is debug information" : "there is no debug information (-g)");
    }
  }

  void CheckDeterminism() {
    // So that the time of day, if the source names it, is another one.
    usleep(1100000);
    if (!Make("second.o", compile_.words, {})) return Say(Finding::kBad, "deterministic", "it compiles only at times");
    if (ReadFile(scratch_.path() / "second.o") == first_) return Say(Finding::kGood, "deterministic", "two compiles give the same bytes");
    Say(Finding::kBad, "deterministic", "two compiles give different bytes (__TIME__, __DATE__, a random seed?): what did not change looks as if it had");
  }

  // The folder under another name: a link to it.
  void CheckFolders() {
    std::error_code code;
    const fs::path other = scratch_.path() / "another-folder";
    fs::create_directory_symlink(fs::current_path(code), other, code);
    if (code || !Make("elsewhere.o", compile_.words, {}, other.string())) {
      return Say(Finding::kUnknown, "folder", "it does not compile in another folder");
    }
    const std::string elsewhere = ReadFile(scratch_.path() / "elsewhere.o");
    const std::set<std::string> lost = Lost(ReadObjectNames(elsewhere));
    if (!lost.empty()) return Say(Finding::kBad, "folder", "names depend on the folder: " + Some(lost));
    Say(Finding::kGood, "folder", elsewhere == first_ ? "in another folder it gives the same bytes"
                                                      : "in another folder names are the same (-ffile-prefix-map would make the bytes so)");
  }

  // The source with a function, a variable and a string more, before everything else.
  void CheckUnrelatedEdit() {
    const fs::path source(compile_.words[compile_.source]);
    const std::string ending = source.extension().string();
    if (ending == ".s" || ending == ".S" || ending == ".i" || ending == ".ii") return;
    const fs::path edited = scratch_.path() / source.filename();
    std::error_code code;
    const fs::path folder = fs::absolute(source, code).parent_path();
    std::ofstream(edited, std::ios::binary)
        << "const char *kitlink_doctor_text(void);\n"
           "const char *kitlink_doctor_text(void) { static int kitlink_doctor_count; return ++kitlink_doctor_count ? \"kitlink doctor\" : 0; }\n"
           "#line 1\n"
        << ReadFile(source);
    Words words = compile_.words;
    words[compile_.source] = edited.string();
    if (!Make("edited.o", words, {"-iquote", folder.string()})) {
      return Say(Finding::kUnknown, "names", "it does not compile with a function more: " + said_.substr(0, said_.find('\n')));
    }
    const std::set<std::string> lost = Lost(ReadObjectNames(ReadFile(scratch_.path() / "edited.o")));
    if (lost.empty()) return Say(Finding::kGood, "names", "an unrelated edit leaves all names as they are");
    Say(Finding::kNote, "names", "an unrelated edit gives other names to " + Some(lost) + ": such are matched by what they hold");
  }

  std::set<std::string> Lost(const ObjectNames& now) const {
    std::set<std::string> lost = Missing(names_.symbols, now.symbols);
    lost.merge(Missing(names_.sections, now.sections));
    return lost;
  }

  // What -H tells of is what was read.
  void CheckDependencies() {
    if (!Make("told.o", compile_.words, {"-H"})) return;
    const std::string includes = said_;
    std::set<std::string> wanted;
    for (size_t at = 0; at < includes.size();) {
      const size_t end = std::min(includes.find('\n', at), includes.size());
      const std::string line = includes.substr(at, end - at);
      at = end + 1;
      const size_t dots = line.find_first_not_of('.');
      if (dots != 0 && dots != std::string::npos && line[dots] == ' ') wanted.insert(Real(line.substr(dots + 1)));
    }
    wanted.insert(Real(compile_.words[compile_.source]));
    if (!compile_.lists) {
      return Say(Finding::kNote, "dependencies", "it lists no dependencies (-MD -MF FILE): the build system must know them from elsewhere");
    }
    const fs::path list = scratch_.path() / "own.d";
    if (!Make("listed.o", compile_.words, {compile_.lists_all ? "-MD" : "-MMD", "-MF", list.string()})) {
      return Say(Finding::kUnknown, "dependencies", "it does not list them");
    }
    const std::set<std::string> missing = Missing(wanted, ReadList(ReadFile(list)));
    if (missing.empty()) return Say(Finding::kGood, "dependencies", "all " + std::to_string(wanted.size()) + " files that it reads are listed");
    const bool system = !compile_.lists_all && std::all_of(missing.begin(), missing.end(), [](const std::string& path) { return StartsWith(path, "/usr/"); });
    Say(system ? Finding::kNote : Finding::kBad, "dependencies",
        "read and not listed: " + Some(missing) + (system ? " (-MMD leaves the system's headers out; -MD does not)" : ""));
  }

  static std::string Real(const std::string& path) {
    std::error_code code;
    const fs::path real = fs::canonical(path, code);
    return code ? path : real.string();
  }

  // The words behind "TARGET:" of a makefile.
  static std::set<std::string> ReadList(const std::string& text) {
    std::set<std::string> paths;
    std::string word;
    bool behind = false;
    for (size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : '\n';
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') {
        word += text[++i];
      } else if (c == '\\' || c == ' ' || c == '\t' || c == '\n') {
        if (behind && !word.empty()) paths.insert(Real(word));
        if (!word.empty() && word.back() == ':') behind = true;
        word.clear();
      } else {
        word += c;
      }
    }
    return paths;
  }

  const Compile compile_;
  const Scratch scratch_;
  std::vector<Finding> findings_;
  std::string said_, first_;
  ObjectNames names_;
};

constexpr char kSample[] =
    "#include <stdio.h>\n"
    "static int counter;\n"
    "int table[4] = {1, 2, 3, 4};\n"
    "static int next(int step) { static int calls; ++calls; return counter += step * table[calls & 3]; }\n"
    "int twice(int value);\n"
    "int twice(int value) { printf(\"%d\\n\", next(value)); return 2 * value; }\n";

const char* NameOf(Finding::Grade grade) {
  switch (grade) {
    case Finding::kGood: return "good";
    case Finding::kNote: return "note";
    case Finding::kBad: return "bad";
    case Finding::kUnknown: return "unknown";
  }
  return "";
}

bool InPath(const std::string& program) {
  const char* path = getenv("PATH");
  const std::string folders = path == nullptr ? "/usr/bin" : path;
  for (size_t at = 0; at <= folders.size();) {
    const size_t end = std::min(folders.find(':', at), folders.size());
    if (access((folders.substr(at, end - at) + "/" + program).c_str(), X_OK) == 0) return true;
    at = end + 1;
  }
  return false;
}

std::string Joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

int Show(const Words& command, const std::vector<Finding>& findings, bool json) {
  int status = 0;
  std::string list;
  for (const Finding& finding : findings) {
    if (finding.grade == Finding::kBad) status = std::max(status, 1);
    if (finding.check == "command") status = 2;
    list += (list.empty() ? "" : ",") + std::string("{\"check\":") + JsonString(finding.check) + ",\"grade\":" +
            JsonString(NameOf(finding.grade)) + ",\"text\":" + JsonString(finding.text) + "}";
  }
  if (json) {
    printf("{\"command\":%s,\"findings\":[%s]}\n", JsonString(Joined(command)).c_str(), list.c_str());
    return status;
  }
  printf("%s\n", Joined(command).c_str());
  for (const Finding& finding : findings) {
    printf("  %-7s  %-13s %s\n", NameOf(finding.grade), finding.check.c_str(), finding.text.c_str());
  }
  return status;
}

}  // namespace

std::vector<Finding> Examine(const std::vector<std::string>& command) { return Examination(command).Run(); }

int Doctor(const std::vector<std::string>& command, bool json) {
  if (!command.empty()) return Show(command, Examine(command), json);
  const Scratch scratch;
  int status = 0;
  for (const auto& [compiler, source] : {std::pair<const char*, const char*>{"gcc", "sample.c"}, {"g++", "sample.cc"},
                                         {"clang", "sample.c"}, {"clang++", "sample.cc"}}) {
    if (!InPath(compiler)) continue;
    const std::string path = (scratch.path() / source).string();
    std::ofstream(path) << kSample;
    const Words sample = {compiler, "-g", "-ffunction-sections", "-fdata-sections", "-MD", "-c", path};
    status = std::max(status, Show(sample, Examine(sample), json));
  }
  return status;
}

}  // namespace kitlink::client
