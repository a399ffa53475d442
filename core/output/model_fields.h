// Which fields of the model's small structs are written to disk: their own headers are everybody's.
#ifndef CORE_OUTPUT_MODEL_FIELDS_H_
#define CORE_OUTPUT_MODEL_FIELDS_H_

#include "core/arch/arch.h"
#include "core/base/fields.h"
#include "core/base/file_source.h"
#include "core/base/unit_rank.h"
#include "core/input/model.h"
#include "core/output/hot_tables.h"
#include "core/output/image_sink.h"

namespace kitlink {

KITLINK_FIELDS_OF(FileStamp, device, inode, size, mtime_ns, ctime_ns)
KITLINK_FIELDS_OF(UnitRank, input, member)
KITLINK_FIELDS_OF(UnitTraits, has_stack_note, exec_stack, x86_feature_1_and, has_feature_note, machine_flags)
KITLINK_FIELDS_OF(TargetTraits, imported, absolute, undefined_weak, ifunc, tls, local, function)
KITLINK_FIELDS_OF(OutputTraits, pic, shared, is_static, relax, keep_cells, copy_relocs, text_relocs)
KITLINK_FIELDS_OF(ImageValues, got_base, tls_begin, tls_pointer, tlsld)
KITLINK_FIELDS_OF(ByteRange, offset, length)
KITLINK_FIELDS_OF(GrowthRequest, output_section, name, flags, nobits, moves, alignment, size)
KITLINK_FIELDS_OF(GrowthPlace, address, offset)

}  // namespace kitlink

#endif  // CORE_OUTPUT_MODEL_FIELDS_H_
