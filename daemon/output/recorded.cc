#include "daemon/output/recorded.h"

#include <sys/stat.h>

#include <fstream>

#include "core/base/codec.h"

namespace kitlink::daemon {
namespace {

// Another one after every start of the machine.
std::string BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace

std::string WriteRecord(const FileIdentity& identity) {
  Encoder encoder;
  encoder.Put(Recorded{identity, BootId()});
  return encoder.Take();
}

absl::StatusOr<Recorded> ReadRecord(absl::string_view record) {
  Decoder decoder(AsBytes(record));
  Recorded recorded;
  if (decoder.Get(&recorded) && decoder.Done()) return recorded;
  return absl::FailedPreconditionError("what it says of the output makes no sense");
}

bool IsOfThisBoot(const Recorded& recorded) { return recorded.boot == BootId(); }

bool IsRecorded(const std::string& path, absl::string_view record) {
  const absl::StatusOr<Recorded> recorded = ReadRecord(record);
  struct stat info;
  return recorded.ok() && IsOfThisBoot(*recorded) && lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         FileIdentity::Of(info) == recorded->identity;
}

}  // namespace kitlink::daemon
