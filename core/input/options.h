// What a link was asked to do, parsed from the command line that a compiler driver passes.
#ifndef CORE_INPUT_OPTIONS_H_
#define CORE_INPUT_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace kitlink {

enum class OutputKind : uint8_t {
  kExecutable,  // position-dependent (ET_EXEC)
  kPie,
  kShared,
};

enum class BuildIdStyle : uint8_t { kNone, kFast, kMd5, kSha1, kUuid, kHex };
enum class MovePolicy : uint8_t { kAuto, kReapply, kThunk, kGot };
enum class GatePolicy : uint8_t { kStrict, kExact };
enum class PublishPolicy : uint8_t { kAuto, kInPlace, kExchange };
enum class HashStyle : uint8_t { kGnu = 1, kSysv = 2, kBoth = 3 };
enum class UnresolvedPolicy : uint8_t { kDefault, kError, kWarn, kIgnore };
enum class Strip : uint8_t { kNone, kDebug, kAll };

// The state of the positional flags where an input stands.
struct InputFlags {
  bool as_needed = false;
  bool whole_archive = false;
  bool link_static = false;  // -Bstatic: -l finds archives only
  bool lazy = false;         // between --start-lib and --end-lib: an object used like an archive member
  int group = 0;             // number of the --start-group it is in, 0 for none

  friend bool operator==(const InputFlags& a, const InputFlags& b) {
    return a.as_needed == b.as_needed && a.whole_archive == b.whole_archive && a.link_static == b.link_static &&
           a.lazy == b.lazy && a.group == b.group;
  }
};

// One file or -l on the command line, in order.
struct InputArgument {
  bool library = false;  // -lNAME (":FILE" included): searched
  std::string name;      // NAME, or the path as given
  InputFlags flags;
};

struct LinkOptions {
  std::string output = "a.out";
  OutputKind kind = OutputKind::kExecutable;
  bool is_static = false;         // -static: no dynamic section (unless PIE), no shared libraries
  bool no_dynamic_linker = false;  // --no-dynamic-linker (static-pie)
  std::string emulation = "elf_x86_64";

  std::vector<InputArgument> inputs;
  std::vector<std::string> library_paths;  // -L, in order; "=" and "$SYSROOT" expanded
  std::string sysroot;

  std::string dynamic_linker;
  std::string soname;
  std::vector<std::string> rpaths;
  bool runpath = true;  // --enable-new-dtags
  std::string entry;    // -e; empty: _start (executables), 0 (shared)
  std::string init = "_init";
  std::string fini = "_fini";
  bool eh_frame_hdr = false;
  HashStyle hash_style = HashStyle::kBoth;
  BuildIdStyle build_id = BuildIdStyle::kNone;
  std::string build_id_hex;  // lower-case digits, for kHex
  bool export_dynamic = false;
  bool bsymbolic = false;
  bool bsymbolic_functions = false;
  bool gc_sections = false;
  bool print_gc_sections = false;
  std::vector<std::string> undefined;  // -u
  std::vector<std::string> export_symbols;     // --export-dynamic-symbol
  std::vector<std::string> wrap;
  std::vector<std::pair<std::string, std::string>> defsym;  // name, expression
  std::string version_script;                  // path, empty for none
  std::vector<std::string> dynamic_lists;      // paths
  absl::flat_hash_set<std::string> exclude_libs;  // archive base names, or "ALL"

  bool z_now = false;
  bool z_relro = true;
  bool z_exec_stack = false;
  bool z_noexec_stack_given = false;
  bool z_defs = false;       // -z defs / --no-undefined
  bool z_text = true;        // -z notext allows text relocations
  bool z_nodelete = false;
  bool z_origin = false;
  bool z_initfirst = false;
  bool z_nodlopen = false;
  bool z_interpose = false;
  bool z_copyreloc = true;
  bool z_keep_text_section_prefix = false;
  bool z_start_stop_gc = false;
  bool z_separate_code = true;
  bool z_ibt = false;
  bool z_shstk = false;
  uint64_t max_page_size = 0x1000;
  uint64_t stack_size = 0;
  uint64_t image_base = 0x400000;  // position-dependent outputs
  UnresolvedPolicy unresolved = UnresolvedPolicy::kDefault;
  bool allow_multiple_definition = false;
  bool allow_shlib_undefined = true;
  bool warn_common = false;
  bool fatal_warnings = false;
  bool demangle = true;
  Strip strip = Strip::kNone;
  bool discard_locals = false;      // -X: drop .L symbols (always done for mergeable ones)
  bool discard_all = false;         // -x
  bool relax = true;
  int error_limit = 20;
  bool trace = false;               // -t: print the inputs
  std::string map_file;             // -Map
  std::string dependency_file;      // --dependency-file
  bool print_version = false;       // -v / --version
  bool print_help = false;

  bool incremental = true;
  MovePolicy move = MovePolicy::kAuto;
  GatePolicy gate = GatePolicy::kExact;
  PublishPolicy publish = PublishPolicy::kAuto;
  std::string session_key;
  std::string session_salt;  // what produced the inputs: state of another producer is not looked at
  int threads = 0;  // 0: one a processor

  std::vector<std::string> response_files;  // absolute or relative paths of @files that were read
  // The command line with those files' words in their place. Shared, for there may be ten thousand.
  std::shared_ptr<const std::vector<std::string>> arguments;
};

// Options that do not change any more: a link of 10,000 inputs does not copy their names. Thread safe, as they are const.
class SharedOptions {
 public:
  SharedOptions() : options_(std::make_shared<const LinkOptions>()) {}
  SharedOptions(LinkOptions options) : options_(std::make_shared<const LinkOptions>(std::move(options))) {}

  const LinkOptions& operator*() const { return *options_; }
  const LinkOptions* operator->() const { return options_.get(); }
  operator const LinkOptions&() const { return *options_; }
  // True when both are one object; false says nothing.
  bool Is(const SharedOptions& other) const { return options_ == other.options_; }

 private:
  std::shared_ptr<const LinkOptions> options_;
};

}  // namespace kitlink

#endif  // CORE_INPUT_OPTIONS_H_
