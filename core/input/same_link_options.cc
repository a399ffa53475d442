// Whether two command lines ask for the same image.
#include <tuple>

#include "core/input/command_line.h"

namespace kitlink {
namespace {

// A new field of LinkOptions belongs in one of these, or in the list of those left out below.
auto Shape(const LinkOptions& o) {
  return std::tie(o.kind, o.is_static, o.no_dynamic_linker, o.emulation, o.library_paths, o.sysroot, o.dynamic_linker,
                  o.soname, o.rpaths, o.runpath, o.entry, o.init, o.fini, o.eh_frame_hdr, o.hash_style, o.build_id,
                  o.build_id_hex, o.max_page_size, o.stack_size, o.image_base, o.strip, o.incremental, o.move,
                  o.session_salt);
}

auto Symbols(const LinkOptions& o) {
  return std::tie(o.export_dynamic, o.bsymbolic, o.bsymbolic_functions, o.gc_sections, o.undefined, o.export_symbols,
                  o.wrap, o.defsym, o.version_script, o.dynamic_lists, o.exclude_libs, o.unresolved,
                  o.allow_multiple_definition, o.allow_shlib_undefined, o.fatal_warnings, o.discard_locals,
                  o.discard_all, o.relax);
}

auto Keywords(const LinkOptions& o) {
  return std::tie(o.z_now, o.z_relro, o.z_exec_stack, o.z_noexec_stack_given, o.z_defs, o.z_text, o.z_nodelete,
                  o.z_origin, o.z_initfirst, o.z_nodlopen, o.z_interpose, o.z_copyreloc,
                  o.z_keep_text_section_prefix, o.z_start_stop_gc, o.z_separate_code, o.z_ibt, o.z_shstk);
}

}  // namespace

// Left out: inputs and response_files (compared otherwise); output and session_key (how the session was found);
// gate and publish (how the next patch is made); warn_common, demangle, error_limit, trace, print_*, map_file,
// dependency_file (what is said besides the image); threads.
bool SameLinkOptions(const LinkOptions& a, const LinkOptions& b) {
  return Shape(a) == Shape(b) && Symbols(a) == Symbols(b) && Keywords(a) == Keywords(b);
}

}  // namespace kitlink
