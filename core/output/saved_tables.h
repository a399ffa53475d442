// A format's tables on disk: how a HotTables is written, and made again in another process.
#ifndef CORE_OUTPUT_SAVED_TABLES_H_
#define CORE_OUTPUT_SAVED_TABLES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/arch/arch.h"
#include "core/base/codec.h"
#include "core/input/options.h"
#include "core/output/hot_tables.h"

namespace kitlink {

// Writes the tables of an image that PlaceImage planned; what a plan stages is left out.
void SaveTables(const HotTables& tables, Encoder* encoder);
// The tables that SaveTables wrote of an image made with these options. DataLoss when they make no sense.
absl::StatusOr<std::unique_ptr<HotTables>> LoadTables(const LinkOptions& options, const Arch& arch, Decoder* decoder);
// What SaveTables writes, in words: another text is another format.
std::string TablesSchema();

}  // namespace kitlink

#endif  // CORE_OUTPUT_SAVED_TABLES_H_
