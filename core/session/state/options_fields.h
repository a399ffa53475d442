// Which fields of the options are written to disk: all of them.
#ifndef CORE_SESSION_STATE_OPTIONS_FIELDS_H_
#define CORE_SESSION_STATE_OPTIONS_FIELDS_H_

#include "core/base/fields.h"
#include "core/input/options.h"

namespace kitlink {

KITLINK_FIELDS_OF(InputFlags, as_needed, whole_archive, link_static, lazy, group)
KITLINK_FIELDS_OF(InputArgument, library, name, flags)
KITLINK_FIELDS_OF(LinkOptions, output, kind, is_static, no_dynamic_linker, emulation, inputs, library_paths, sysroot,
                  dynamic_linker, soname, rpaths, runpath, entry, init, fini, eh_frame_hdr, hash_style, build_id,
                  build_id_hex, export_dynamic, bsymbolic, bsymbolic_functions, gc_sections, print_gc_sections,
                  undefined, export_symbols, wrap, defsym, version_script, dynamic_lists, exclude_libs, z_now,
                  z_relro, z_exec_stack, z_noexec_stack_given, z_defs, z_text, z_nodelete, z_origin, z_initfirst,
                  z_nodlopen, z_interpose, z_copyreloc, z_keep_text_section_prefix, z_start_stop_gc, z_separate_code,
                  z_ibt, z_shstk, max_page_size, stack_size, image_base, unresolved, allow_multiple_definition,
                  allow_shlib_undefined, warn_common, fatal_warnings, demangle, strip, discard_locals, discard_all,
                  relax, error_limit, trace, map_file, dependency_file, print_version, print_help, incremental, move,
                  gate, publish, session_key, session_salt, threads, response_files, arguments)

}  // namespace kitlink

#endif  // CORE_SESSION_STATE_OPTIONS_FIELDS_H_
