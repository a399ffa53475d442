#include "daemon/process_memory.h"

#include <malloc.h>

#include <fstream>
#include <limits>
#include <string>

namespace kitlink::daemon {

uint64_t AnonymousBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    if (uint64_t kilobytes = 0; name == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

void ReturnFreeMemory() { malloc_trim(0); }

}  // namespace kitlink::daemon
