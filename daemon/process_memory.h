// The memory of this process.
#ifndef DAEMON_PROCESS_MEMORY_H_
#define DAEMON_PROCESS_MEMORY_H_

#include <cstdint>

namespace kitlink::daemon {

// Resident memory that is no file's: RssAnon of proc(5), in bytes. 0 when it cannot be known. Thread safe.
uint64_t AnonymousBytes();

// Gives what the heap has free back to the system. A full link leaves most of what it needed free and resident, and a
// session that stays needs a fraction of it. Takes milliseconds for each hundred megabytes: nothing for a warm relink.
// Thread safe.
void ReturnFreeMemory();

}  // namespace kitlink::daemon

#endif  // DAEMON_PROCESS_MEMORY_H_
