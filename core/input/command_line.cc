#include "core/input/command_line.h"

#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/input/option_table.h"
#include "core/input/option_values.h"
#include "core/input/response_file.h"

namespace kitlink {
namespace {

// Where GNU ld for x86-64 on Debian searches after all -L, unless told -nostdlib.
constexpr const char* kDefaultLibraryPaths[] = {
    "=/usr/local/lib/x86_64-linux-gnu", "=/lib/x86_64-linux-gnu", "=/usr/lib/x86_64-linux-gnu",
    "=/usr/local/lib64", "=/lib64", "=/usr/lib64", "=/usr/local/lib", "=/lib", "=/usr/lib",
};

// One option as written on the command line.
struct Written {
  const OptionSpec* spec = nullptr;
  std::string shown;  // as it appears in messages: "--foo"
  bool has_value = false;
  std::string value;
};

class Parser {
 public:
  Parser(FileSource& files, Diagnostics& diagnostics) : files_(files), diagnostics_(diagnostics) {}

  absl::StatusOr<LinkOptions> Parse(absl::Span<const std::string> args);

 private:
  absl::StatusOr<Written> Recognise(const std::string& arg) const;
  absl::Status ParseOption(absl::Span<const std::string> args, size_t* at);
  absl::Status Apply(const Written& written);
  absl::Status ApplySpecial(const Written& written);
  // Each handles some of the special options and says whether this was one of them.
  bool ApplyPositional(SpecialOption option, absl::Status& status);
  bool ApplySearch(const Written& written, absl::Status& status);
  bool ApplyKind(SpecialOption option);
  void ApplyRpathOrSymbols(const Written& written, absl::Status& status);
  absl::Status ApplyGroup(bool start);
  void AddInput(bool library, std::string name);
  void Finish();

  FileSource& files_;
  Diagnostics& diagnostics_;
  LinkOptions options_;
  InputFlags flags_;
  std::vector<InputFlags> saved_flags_;
  int groups_ = 0;
  bool default_paths_ = true;
};

// GNU ld's rules: "--name" is long; "-name" is long when that is the exact name of an option which does not begin
// with "o" (that is -o with its value), and otherwise the short option of its first letter.
absl::StatusOr<Written> Parser::Recognise(const std::string& arg) const {
  Written written;
  const bool two_dashes = absl::StartsWith(arg, "--");
  const std::string body = arg.substr(two_dashes ? 2 : 1);
  const size_t equals = body.find('=');
  const std::string name = body.substr(0, equals);
  const bool long_form = two_dashes ? name.size() > 1 : name.size() > 1 && body[0] != 'o';
  if (long_form) {
    written.spec = FindOption(name);
    if (written.spec != nullptr && equals != std::string::npos) {
      if (written.spec->value == OptionValue::kNone) {
        // --demangle=STYLE is the one that has a value nobody needs.
        if (name != "demangle") return absl::InvalidArgumentError(absl::StrCat("option ", arg, " takes no value"));
      } else {
        written.has_value = true;
        written.value = body.substr(equals + 1);
      }
    }
  }
  if (written.spec == nullptr && !two_dashes && !body.empty()) {
    const OptionSpec* spec = FindOption(body.substr(0, 1));
    const bool joined = body.size() > 1;
    if (spec != nullptr && !(joined && spec->value == OptionValue::kNone)) {
      written.spec = spec;
      written.has_value = joined;
      if (joined) written.value = body.substr(1);
    }
  }
  if (written.spec == nullptr) return absl::InvalidArgumentError(absl::StrCat("unknown option: ", arg));
  written.shown = absl::StrCat(two_dashes ? "--" : "-", written.spec->name);
  return written;
}

absl::Status Parser::ParseOption(absl::Span<const std::string> args, size_t* at) {
  absl::StatusOr<Written> written = Recognise(args[*at]);
  if (!written.ok()) return written.status();
  if (written->spec->value == OptionValue::kRequired && !written->has_value) {
    if (*at + 1 >= args.size()) {
      return absl::InvalidArgumentError(absl::StrCat("option ", written->shown, " needs a value"));
    }
    written->has_value = true;
    written->value = args[++*at];
  }
  return Apply(*written);
}

absl::Status Parser::Apply(const Written& written) {
  const OptionSpec& spec = *written.spec;
  switch (spec.action) {
    case OptionAction::kFlag:
      options_.*spec.flag = spec.flag_value;
      return absl::OkStatus();
    case OptionAction::kText:
      options_.*spec.text = written.value;
      return absl::OkStatus();
    case OptionAction::kList:
      (options_.*spec.list).push_back(written.value);
      return absl::OkStatus();
    case OptionAction::kIgnored:
      return absl::OkStatus();
    case OptionAction::kUnsupported:
      return absl::InvalidArgumentError(absl::StrCat("option ", written.shown, " is not supported: ", spec.why));
    case OptionAction::kSpecial:
      break;
  }
  return ApplySpecial(written);
}

absl::Status Parser::ApplySpecial(const Written& written) {
  absl::Status status;
  if (ApplyPositional(written.spec->special, status)) return status;
  if (ApplyKind(written.spec->special)) return status;
  if (ApplySearch(written, status)) return status;
  return ApplyOptionValue(written.spec->special, written.shown, written.value, options_, diagnostics_);
}

absl::Status Parser::ApplyGroup(bool start) {
  if (start) {
    if (flags_.group != 0) return absl::InvalidArgumentError("--start-group may not be nested");
    flags_.group = ++groups_;
    return absl::OkStatus();
  }
  if (flags_.group == 0) return absl::InvalidArgumentError("--end-group without --start-group");
  flags_.group = 0;
  return absl::OkStatus();
}

bool Parser::ApplyPositional(SpecialOption option, absl::Status& status) {
  switch (option) {
    case SpecialOption::kAsNeeded:
    case SpecialOption::kNoAsNeeded:
      flags_.as_needed = option == SpecialOption::kAsNeeded;
      return true;
    case SpecialOption::kWholeArchive:
    case SpecialOption::kNoWholeArchive:
      flags_.whole_archive = option == SpecialOption::kWholeArchive;
      return true;
    case SpecialOption::kBstatic:
    case SpecialOption::kBdynamic:
      flags_.link_static = option == SpecialOption::kBstatic;
      return true;
    case SpecialOption::kStartGroup:
    case SpecialOption::kEndGroup:
      status = ApplyGroup(option == SpecialOption::kStartGroup);
      return true;
    case SpecialOption::kStartLib:
      if (flags_.lazy) status = absl::InvalidArgumentError("--start-lib may not be nested");
      flags_.lazy = true;
      return true;
    case SpecialOption::kEndLib:
      if (!flags_.lazy) status = absl::InvalidArgumentError("--end-lib without --start-lib");
      flags_.lazy = false;
      return true;
    case SpecialOption::kPushState:
      saved_flags_.push_back(flags_);
      return true;
    case SpecialOption::kPopState: {
      if (saved_flags_.empty()) {
        status = absl::InvalidArgumentError("--pop-state without --push-state");
        return true;
      }
      InputFlags restored = saved_flags_.back();
      saved_flags_.pop_back();
      restored.group = flags_.group;  // groups and --start-lib are brackets of their own
      restored.lazy = flags_.lazy;
      flags_ = restored;
      return true;
    }
    default:
      return false;
  }
}

bool Parser::ApplyKind(SpecialOption option) {
  switch (option) {
    case SpecialOption::kShared:
      options_.kind = OutputKind::kShared;
      return true;
    case SpecialOption::kPie:
      options_.kind = OutputKind::kPie;
      return true;
    case SpecialOption::kNoPie:
      if (options_.kind == OutputKind::kPie) options_.kind = OutputKind::kExecutable;
      return true;
    case SpecialOption::kStatic:
      options_.is_static = true;
      flags_.link_static = true;
      return true;
    default:
      return false;
  }
}

void Parser::ApplyRpathOrSymbols(const Written& written, absl::Status& status) {
  // -R is --just-symbols for a file and -rpath for a folder; only the former can be opened.
  if (files_.Open(written.value).ok()) {
    status = absl::InvalidArgumentError(absl::StrCat("option -R with a file (", written.value, ") is not supported"));
    return;
  }
  AddRpath(written.value, options_);
}

bool Parser::ApplySearch(const Written& written, absl::Status& status) {
  switch (written.spec->special) {
    case SpecialOption::kLibrary:
      AddInput(/*library=*/true, written.value);
      return true;
    case SpecialOption::kLibraryPath:
      options_.library_paths.push_back(written.value);
      return true;
    case SpecialOption::kSysroot:
      options_.sysroot = std::string(absl::StripSuffix(written.value, "/"));
      return true;
    case SpecialOption::kNostdlib:
      default_paths_ = false;
      return true;
    case SpecialOption::kSolarisPath:
      default_paths_ = false;
      for (absl::string_view folder : absl::StrSplit(written.value, ':', absl::SkipEmpty())) {
        options_.library_paths.emplace_back(folder);
      }
      return true;
    case SpecialOption::kRpathOrSymbols:
      ApplyRpathOrSymbols(written, status);
      return true;
    default:
      return false;
  }
}

void Parser::AddInput(bool library, std::string name) {
  InputArgument input;
  input.library = library;
  input.name = std::move(name);
  input.flags = flags_;
  options_.inputs.push_back(std::move(input));
}

// What depends on options in any order.
void Parser::Finish() {
  if (default_paths_) {
    options_.library_paths.insert(options_.library_paths.end(), std::begin(kDefaultLibraryPaths),
                                  std::end(kDefaultLibraryPaths));
  }
  for (std::string& path : options_.library_paths) {
    absl::string_view rest = path;
    if (absl::ConsumePrefix(&rest, "=") || absl::ConsumePrefix(&rest, "$SYSROOT")) {
      path = absl::StrCat(options_.sysroot, rest);
    }
  }
  // "-shared -static" only means that -l finds archives: a library always has a dynamic section.
  if (options_.kind == OutputKind::kShared) options_.is_static = false;
  if (flags_.group != 0) diagnostics_.Warning("missing --end-group; the group ends with the command line");
}

absl::StatusOr<LinkOptions> Parser::Parse(absl::Span<const std::string> args) {
  absl::StatusOr<std::vector<std::string>> expanded = ExpandResponseFiles(args, files_, options_.response_files);
  if (!expanded.ok()) return expanded.status();
  options_.arguments = std::make_shared<const std::vector<std::string>>(*std::move(expanded));
  const std::vector<std::string>& list = *options_.arguments;
  options_.inputs.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].size() < 2 || list[i][0] != '-') {
      AddInput(/*library=*/false, list[i]);
      continue;
    }
    if (absl::Status status = ParseOption(list, &i); !status.ok()) return status;
  }
  Finish();
  return std::move(options_);
}

}  // namespace

absl::StatusOr<LinkOptions> ParseCommandLine(absl::Span<const std::string> args, FileSource& files,
                                             Diagnostics& diagnostics) {
  return Parser(files, diagnostics).Parse(args);
}

}  // namespace kitlink
