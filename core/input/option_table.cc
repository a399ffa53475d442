#include "core/input/option_table.h"

namespace kitlink {
namespace {

using O = LinkOptions;
using S = SpecialOption;

constexpr OptionValue kNone = OptionValue::kNone;
constexpr OptionValue kRequired = OptionValue::kRequired;
constexpr OptionValue kOptional = OptionValue::kOptional;

constexpr OptionSpec Flag(const char* name, bool O::*flag, bool value = true) {
  OptionSpec spec{name};
  spec.action = OptionAction::kFlag;
  spec.flag = flag;
  spec.flag_value = value;
  return spec;
}

constexpr OptionSpec Text(const char* name, std::string O::*text) {
  OptionSpec spec{name};
  spec.value = kRequired;
  spec.action = OptionAction::kText;
  spec.text = text;
  return spec;
}

constexpr OptionSpec List(const char* name, std::vector<std::string> O::*list) {
  OptionSpec spec{name};
  spec.value = kRequired;
  spec.action = OptionAction::kList;
  spec.list = list;
  return spec;
}

constexpr OptionSpec Special(const char* name, S special, OptionValue value = kNone) {
  OptionSpec spec{name};
  spec.value = value;
  spec.action = OptionAction::kSpecial;
  spec.special = special;
  return spec;
}

constexpr OptionSpec Ignored(const char* name, OptionValue value, const char* why) {
  OptionSpec spec{name};
  spec.value = value;
  spec.why = why;
  return spec;
}

constexpr OptionSpec Unsupported(const char* name, OptionValue value, const char* why) {
  OptionSpec spec{name};
  spec.value = value;
  spec.action = OptionAction::kUnsupported;
  spec.why = why;
  return spec;
}

constexpr char kFaster[] = "asks for less memory or more speed";
constexpr char kPrints[] = "only prints";
constexpr char kWarns[] = "only warns, or does not";
constexpr char kAlways[] = "is what always happens";
constexpr char kOrder[] = "may only save space or time";
constexpr char kLto[] = "concerns link-time optimisation, which is not done";
constexpr char kLayout[] = "kitlink lays out its output by itself";
constexpr char kFinalOnly[] = "only finished programs and libraries are linked";
constexpr char kNotYet[] = "not implemented";

constexpr OptionSpec kPositional[] = {
    Special("as-needed", S::kAsNeeded),
    Special("no-as-needed", S::kNoAsNeeded),
    Special("whole-archive", S::kWholeArchive),
    Special("no-whole-archive", S::kNoWholeArchive),
    Special("Bstatic", S::kBstatic),
    Special("dn", S::kBstatic),
    Special("non_shared", S::kBstatic),
    Special("Bdynamic", S::kBdynamic),
    Special("dy", S::kBdynamic),
    Special("call_shared", S::kBdynamic),
    Special("start-group", S::kStartGroup),
    Special("(", S::kStartGroup),
    Special("end-group", S::kEndGroup),
    Special(")", S::kEndGroup),
    Special("start-lib", S::kStartLib),
    Special("end-lib", S::kEndLib),
    Special("push-state", S::kPushState),
    Special("pop-state", S::kPopState),
    Special("l", S::kLibrary, kRequired),
    Special("library", S::kLibrary, kRequired),
    Special("L", S::kLibraryPath, kRequired),
    Special("library-path", S::kLibraryPath, kRequired),
    Special("sysroot", S::kSysroot, kRequired),
    Special("nostdlib", S::kNostdlib),
    Special("Y", S::kSolarisPath, kRequired),
};

constexpr OptionSpec kOutput[] = {
    Text("o", &O::output),
    Text("output", &O::output),
    Special("shared", S::kShared),
    Special("Bshareable", S::kShared),
    Special("pie", S::kPie),
    Special("pic-executable", S::kPie),
    Special("no-pie", S::kNoPie),
    Special("static", S::kStatic),
    Flag("no-dynamic-linker", &O::no_dynamic_linker),
    Text("dynamic-linker", &O::dynamic_linker),
    Text("I", &O::dynamic_linker),
    Text("soname", &O::soname),
    Text("h", &O::soname),
    Special("rpath", S::kRpath, kRequired),
    Special("R", S::kRpathOrSymbols, kRequired),
    Flag("enable-new-dtags", &O::runpath),
    Flag("disable-new-dtags", &O::runpath, false),
    Text("e", &O::entry),
    Text("entry", &O::entry),
    Text("init", &O::init),
    Text("fini", &O::fini),
    Flag("eh-frame-hdr", &O::eh_frame_hdr),
    Flag("no-eh-frame-hdr", &O::eh_frame_hdr, false),
    Special("hash-style", S::kHashStyle, kRequired),
    Special("build-id", S::kBuildId, kOptional),
    Special("z", S::kZ, kRequired),
    Special("m", S::kEmulation, kRequired),
    Special("b", S::kFormat, kRequired),
    Special("format", S::kFormat, kRequired),
    Special("oformat", S::kFormat, kRequired),
    Special("s", S::kStripAll),
    Special("strip-all", S::kStripAll),
    Special("S", S::kStripDebug),
    Special("strip-debug", S::kStripDebug),
    Flag("x", &O::discard_all),
    Flag("discard-all", &O::discard_all),
    Flag("X", &O::discard_locals),
    Flag("discard-locals", &O::discard_locals),
    Special("discard-none", S::kDiscardNone),
    Special("image-base", S::kImageBase, kRequired),
    Special("Ttext-segment", S::kImageBase, kRequired),
    Special("orphan-handling", S::kOrphanHandling, kRequired),
};

constexpr OptionSpec kSymbols[] = {
    Flag("E", &O::export_dynamic),
    Flag("export-dynamic", &O::export_dynamic),
    Flag("no-export-dynamic", &O::export_dynamic, false),
    List("export-dynamic-symbol", &O::export_symbols),
    Flag("Bsymbolic", &O::bsymbolic),
    Flag("Bsymbolic-functions", &O::bsymbolic_functions),
    List("u", &O::undefined),
    List("undefined", &O::undefined),
    List("wrap", &O::wrap),
    Special("defsym", S::kDefsym, kRequired),
    Text("version-script", &O::version_script),
    Special("dynamic-list", S::kDynamicList, kRequired),
    Special("exclude-libs", S::kExcludeLibs, kRequired),
    Flag("no-undefined", &O::z_defs),
    Special("unresolved-symbols", S::kUnresolvedSymbols, kRequired),
    Special("warn-unresolved-symbols", S::kWarnUnresolved),
    Special("error-unresolved-symbols", S::kErrorUnresolved),
    Flag("allow-multiple-definition", &O::allow_multiple_definition),
    Flag("no-allow-multiple-definition", &O::allow_multiple_definition, false),
    Flag("allow-shlib-undefined", &O::allow_shlib_undefined),
    Flag("no-allow-shlib-undefined", &O::allow_shlib_undefined, false),
    Flag("gc-sections", &O::gc_sections),
    Flag("no-gc-sections", &O::gc_sections, false),
    Flag("print-gc-sections", &O::print_gc_sections),
    Flag("no-print-gc-sections", &O::print_gc_sections, false),
    Flag("relax", &O::relax),
    Flag("no-relax", &O::relax, false),
};

constexpr OptionSpec kRunning[] = {
    Flag("warn-common", &O::warn_common),
    Flag("no-warn-common", &O::warn_common, false),
    Flag("fatal-warnings", &O::fatal_warnings),
    Flag("no-fatal-warnings", &O::fatal_warnings, false),
    Flag("demangle", &O::demangle),
    Flag("no-demangle", &O::demangle, false),
    Special("error-limit", S::kErrorLimit, kRequired),
    Flag("t", &O::trace),
    Flag("trace", &O::trace),
    Text("Map", &O::map_file),
    Special("M", S::kPrintMap),
    Special("print-map", S::kPrintMap),
    Text("dependency-file", &O::dependency_file),
    Flag("v", &O::print_version),
    Flag("V", &O::print_version),
    Flag("version", &O::print_version),
    Flag("help", &O::print_help),
    Special("threads", S::kThreads, kOptional),
    Special("thread-count", S::kThreads, kRequired),
    Special("no-threads", S::kNoThreads),
    Special("incremental", S::kIncremental, kOptional),
    Special("no-incremental", S::kNoIncremental),
    Special("move", S::kMove, kRequired),
    Special("gate", S::kGate, kRequired),
    Special("publish", S::kPublish, kRequired),
    Text("session-key", &O::session_key),
    Text("session-salt", &O::session_salt),
};

constexpr OptionSpec kWithoutEffect[] = {
    Ignored("plugin", kRequired, kLto),
    Ignored("plugin-opt", kRequired, kLto),
    Ignored("plugin-save-temps", kNone, kLto),
    Ignored("O", kOptional, kOrder),
    Ignored("sort-common", kOptional, kOrder),
    Ignored("icf", kRequired, "folding functions would make edits of one change others"),
    Ignored("compress-debug-sections", kRequired, "compressed sections could not be patched"),
    Ignored("G", kRequired, "this machine has no small data area"),
    Ignored("gpsize", kRequired, "this machine has no small data area"),
    Ignored("g", kNone, "has no effect in GNU ld either"),
    Ignored("EL", kNone, kAlways),
    Ignored("d", kNone, kAlways),
    Ignored("dc", kNone, kAlways),
    Ignored("dp", kNone, kAlways),
    Ignored("rpath-link", kRequired, "libraries that libraries need are not searched for"),
    Ignored("no-copy-dt-needed-entries", kNone, kAlways),
    Ignored("no-add-needed", kNone, kAlways),
    Ignored("add-needed", kNone, "deprecated, and only concerns libraries that libraries need"),
    Ignored("copy-dt-needed-entries", kNone, "only concerns libraries that libraries need"),
    Ignored("no-ld-generated-unwind-info", kNone, kOrder),
    Ignored("ld-generated-unwind-info", kNone, kOrder),
    Ignored("no-omagic", kNone, kAlways),
    Ignored("no-nmagic", kNone, kAlways),
    Ignored("no-icf", kNone, kAlways),
    Ignored("rosegment", kNone, kAlways),
    Ignored("undefined-version", kNone, kAlways),
    Ignored("no-undefined-version", kNone, kWarns),
    Ignored("check-sections", kNone, kAlways),
    Ignored("no-check-sections", kNone, "sections never overlap"),
    Ignored("accept-unknown-input-arch", kNone, "inputs of other machines are always refused"),
    Ignored("no-accept-unknown-input-arch", kNone, kAlways),
    Ignored("strip-discarded", kNone, kAlways),
    Ignored("no-strip-discarded", kNone, kAlways),
    Ignored("disable-multiple-abs-defs", kNone, kAlways),
    Ignored("gnu-unique", kNone, kAlways),
    Ignored("spare-dynamic-tags", kRequired, "the dynamic section keeps a reserve of its own"),
    Ignored("traditional-format", kNone, kAlways),
    Ignored("Qy", kNone, "has no effect in GNU ld either"),
    Ignored("a", kRequired, "has no effect in GNU ld either on this system"),
    Ignored("assert", kRequired, "has no effect in GNU ld either"),
    Ignored("keep-memory", kNone, kFaster),
    Ignored("no-keep-memory", kNone, kFaster),
    Ignored("reduce-memory-overheads", kNone, kFaster),
    Ignored("hash-size", kRequired, kFaster),
    Ignored("max-cache-size", kRequired, kFaster),
    Ignored("map-whole-files", kNone, kFaster),
    Ignored("no-map-whole-files", kNone, kFaster),
    Ignored("fork", kNone, kFaster),
    Ignored("no-fork", kNone, kFaster),
    Ignored("mmap-output-file", kNone, kFaster),
    Ignored("no-mmap-output-file", kNone, kFaster),
    Ignored("quick-exit", kNone, kFaster),
    Ignored("no-quick-exit", kNone, kFaster),
    Ignored("perf", kNone, kPrints),
    Ignored("stats", kNone, kPrints),
    Ignored("time-report", kNone, kPrints),
    Ignored("cref", kNone, kPrints),
    Ignored("verbose", kOptional, kPrints),
    Ignored("y", kRequired, kPrints),
    Ignored("trace-symbol", kRequired, kPrints),
    Ignored("color-diagnostics", kOptional, kPrints),
    Ignored("no-color-diagnostics", kNone, kPrints),
    Ignored("w", kNone, kWarns),
    Ignored("no-warnings", kNone, kWarns),
    Ignored("warn-alternate-em", kNone, kWarns),
    Ignored("warn-backrefs", kNone, kWarns),
    Ignored("no-warn-backrefs", kNone, kWarns),
    Ignored("warn-constructors", kNone, kWarns),
    Ignored("warn-execstack", kNone, kWarns),
    Ignored("no-warn-execstack", kNone, kWarns),
    Ignored("warn-mismatch", kNone, kWarns),
    Ignored("no-warn-mismatch", kNone, kWarns),
    Ignored("warn-multiple-gp", kNone, kWarns),
    Ignored("warn-once", kNone, kWarns),
    Ignored("no-warn-once", kNone, kWarns),
    Ignored("warn-rwx-segments", kNone, kWarns),
    Ignored("no-warn-rwx-segments", kNone, kWarns),
    Ignored("no-warn-search-mismatch", kNone, kWarns),
    Ignored("warn-section-align", kNone, kWarns),
    Ignored("warn-shared-textrel", kNone, kWarns),
    Ignored("no-warn-shared-textrel", kNone, kWarns),
    Ignored("warn-textrel", kNone, kWarns),
    Ignored("warn-symbol-ordering", kNone, kWarns),
    Ignored("no-warn-symbol-ordering", kNone, kWarns),
};

constexpr OptionSpec kNotSupported[] = {
    Unsupported("T", kRequired, kLayout),
    Unsupported("script", kRequired, kLayout),
    Unsupported("dT", kRequired, kLayout),
    Unsupported("default-script", kRequired, kLayout),
    Unsupported("Ttext", kRequired, kLayout),
    Unsupported("Tdata", kRequired, kLayout),
    Unsupported("Tbss", kRequired, kLayout),
    Unsupported("Trodata-segment", kRequired, kLayout),
    Unsupported("Tldata-segment", kRequired, kLayout),
    Unsupported("section-start", kRequired, kLayout),
    Unsupported("sort-section", kRequired, kLayout),
    Unsupported("unique", kOptional, kLayout),
    Unsupported("N", kNone, kLayout),
    Unsupported("omagic", kNone, kLayout),
    Unsupported("n", kNone, kLayout),
    Unsupported("nmagic", kNone, kLayout),
    Unsupported("no-rosegment", kNone, kLayout),
    Unsupported("r", kNone, kFinalOnly),
    Unsupported("i", kNone, kFinalOnly),
    Unsupported("relocatable", kNone, kFinalOnly),
    Unsupported("Ur", kNone, kFinalOnly),
    Unsupported("EB", kNone, "only little-endian machines are supported"),
    Unsupported("q", kNone, kNotYet),
    Unsupported("emit-relocs", kNone, kNotYet),
    Unsupported("A", kRequired, kNotYet),
    Unsupported("architecture", kRequired, kNotYet),
    Unsupported("c", kRequired, kNotYet),
    Unsupported("mri-script", kRequired, kNotYet),
    Unsupported("f", kRequired, kNotYet),
    Unsupported("auxiliary", kRequired, kNotYet),
    Unsupported("F", kRequired, kNotYet),
    Unsupported("filter", kRequired, kNotYet),
    Unsupported("P", kRequired, kNotYet),
    Unsupported("depaudit", kRequired, kNotYet),
    Unsupported("audit", kRequired, kNotYet),
    Unsupported("just-symbols", kRequired, kNotYet),
    Unsupported("Bgroup", kNone, kNotYet),
    Unsupported("Bsymbolic-non-weak", kNone, kNotYet),
    Unsupported("Bsymbolic-non-weak-functions", kNone, kNotYet),
    Unsupported("default-symver", kNone, kNotYet),
    Unsupported("default-imported-symver", kNone, kNotYet),
    Unsupported("dynamic-list-data", kNone, kNotYet),
    Unsupported("dynamic-list-cpp-new", kNone, kNotYet),
    Unsupported("dynamic-list-cpp-typeinfo", kNone, kNotYet),
    Unsupported("export-dynamic-symbol-list", kRequired, kNotYet),
    Unsupported("gc-keep-exported", kNone, kNotYet),
    Unsupported("no-define-common", kNone, kNotYet),
    Unsupported("no-gnu-unique", kNone, kNotYet),
    Unsupported("package-metadata", kRequired, kNotYet),
    Unsupported("require-defined", kRequired, kNotYet),
    Unsupported("retain-symbols-file", kRequired, kNotYet),
    Unsupported("section-ordering-file", kRequired, kNotYet),
    Unsupported("symbol-ordering-file", kRequired, kNotYet),
};

// The GNU ld manual's list. What only speaks to other machines, or asks for what happens anyway, has no field.
constexpr ZKeyword kZKeywords[] = {
    {"now", &O::z_now},
    {"lazy", &O::z_now, false},
    {"relro", &O::z_relro},
    {"norelro", &O::z_relro, false},
    {"execstack", &O::z_exec_stack},
    {"noexecstack", &O::z_noexec_stack_given},
    {"defs", &O::z_defs},
    {"undefs", &O::z_defs, false},
    {"text", &O::z_text},
    {"notext", &O::z_text, false},
    {"textoff", &O::z_text, false},
    {"nodelete", &O::z_nodelete},
    {"origin", &O::z_origin},
    {"initfirst", &O::z_initfirst},
    {"nodlopen", &O::z_nodlopen},
    {"interpose", &O::z_interpose},
    {"copyreloc", &O::z_copyreloc},
    {"nocopyreloc", &O::z_copyreloc, false},
    {"keep-text-section-prefix", &O::z_keep_text_section_prefix},
    {"nokeep-text-section-prefix", &O::z_keep_text_section_prefix, false},
    {"start-stop-gc", &O::z_start_stop_gc},
    {"nostart-stop-gc", &O::z_start_stop_gc, false},
    {"separate-code", &O::z_separate_code},
    {"noseparate-code", &O::z_separate_code, false},
    {"ibt", &O::z_ibt},
    {"ibtplt", &O::z_ibt},
    {"shstk", &O::z_shstk},
    {"muldefs", &O::allow_multiple_definition},
    {"combreloc"},
    {"nocombreloc"},
    {"rela"},
    // Accepted, and answered with RELA: RELR rows are in order of address, which leaves no room for patches.
    {"pack-relative-relocs"},
    {"nopack-relative-relocs"},
    {"nounique-symbol"},
    {"dynamic-undefined-weak"},
    {"nodynamic-undefined-weak"},
    {"noextern-protected-data"},
    {"nognustack"},
};

template <size_t N>
const OptionSpec* FindIn(const OptionSpec (&table)[N], absl::string_view name) {
  for (const OptionSpec& spec : table) {
    if (name == spec.name) return &spec;
  }
  return nullptr;
}

}  // namespace

const OptionSpec* FindOption(absl::string_view name) {
  if (const OptionSpec* spec = FindIn(kPositional, name)) return spec;
  if (const OptionSpec* spec = FindIn(kOutput, name)) return spec;
  if (const OptionSpec* spec = FindIn(kSymbols, name)) return spec;
  if (const OptionSpec* spec = FindIn(kRunning, name)) return spec;
  if (const OptionSpec* spec = FindIn(kWithoutEffect, name)) return spec;
  return FindIn(kNotSupported, name);
}

const ZKeyword* FindZKeyword(absl::string_view name) {
  for (const ZKeyword& keyword : kZKeywords) {
    if (name == keyword.name) return &keyword;
  }
  return nullptr;
}

}  // namespace kitlink
