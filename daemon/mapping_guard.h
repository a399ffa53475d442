// Survives the truncation of a mapped file: reading past the new end raises SIGBUS, and the handler puts zero pages
// there and marks the file as torn.
#ifndef DAEMON_MAPPING_GUARD_H_
#define DAEMON_MAPPING_GUARD_H_

#include <atomic>
#include <cstddef>

namespace kitlink::daemon {

// Installs the SIGBUS handler of the process; calling it again does nothing. Faults outside registered mappings go to
// the disposition that was in place before. Thread safe.
void InstallMappingGuard();

// Registers [begin, begin + size) as a mapping of a file as long as this object lives; *torn becomes true when a
// fault in it was mended. The mapping must be unmapped after this object is destroyed, not before: until then the
// handler may put pages there. Thread safe (lock-free, because the handler reads the same table).
class GuardedMapping {
 public:
  GuardedMapping(const void* begin, size_t size, std::atomic<bool>* torn);
  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

 private:
  struct Slot;
  friend struct MappingTable;
  Slot* slot_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_MAPPING_GUARD_H_
