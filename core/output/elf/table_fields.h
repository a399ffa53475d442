// Which fields of the planned tables' structs are written to disk.
#ifndef CORE_OUTPUT_ELF_TABLE_FIELDS_H_
#define CORE_OUTPUT_ELF_TABLE_FIELDS_H_

#include "core/base/fields.h"
#include "core/output/elf/cells.h"
#include "core/output/elf/image.h"
#include "core/output/model_fields.h"

namespace kitlink::elf {

KITLINK_FIELDS_OF(CellSet, got, gottp, tlsgd, tlsdesc, plt, iplt, canonical_plt, dynsym)
KITLINK_FIELDS_OF(GotCell, kind, symbol, index)
KITLINK_FIELDS_OF(Cells, set_of, sets, got, got_count, got_reserve, tlsld, plt, plt_reserve, iplt, iplt_reserve)
KITLINK_FIELDS_OF(LocalRows, first, used, capacity, names, name_bytes, more_names, more_name_bytes)

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_TABLE_FIELDS_H_
