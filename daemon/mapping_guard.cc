#include "daemon/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <mutex>

namespace kitlink::daemon {

// One registered mapping. A writer makes `version` odd while it changes the rest, so that the handler never combines
// the beginning of one mapping with the end of another that took its slot.
struct GuardedMapping::Slot {
  std::atomic<uint32_t> version{0};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<std::atomic<bool>*> torn{nullptr};
  Slot* next_free = nullptr;  // under MappingTable::mutex

  void Set(uintptr_t new_begin, uintptr_t new_end, std::atomic<bool>* new_torn) {
    version.fetch_add(1);
    begin.store(new_begin);
    end.store(new_end);
    torn.store(new_torn);
    version.fetch_add(1);
  }
};

// Slots in blocks that are never freed, so that the handler may walk them at any time. The one global of the daemon:
// a signal handler can reach nothing else.
struct MappingTable {
  static constexpr size_t kBlockSlots = 1024;
  struct Block {
    std::array<GuardedMapping::Slot, kBlockSlots> slots;
    std::atomic<Block*> next{nullptr};
  };

  std::mutex mutex;  // never taken by the handler
  GuardedMapping::Slot* free = nullptr;
  std::atomic<Block*> blocks{nullptr};
  struct sigaction previous {};

  GuardedMapping::Slot* Take() {
    std::lock_guard<std::mutex> lock(mutex);
    if (free == nullptr) {
      Block* block = new Block;
      for (GuardedMapping::Slot& slot : block->slots) {
        slot.next_free = free;
        free = &slot;
      }
      block->next.store(blocks.load());
      blocks.store(block);
    }
    GuardedMapping::Slot* slot = free;
    free = slot->next_free;
    return slot;
  }

  void Return(GuardedMapping::Slot* slot) {
    std::lock_guard<std::mutex> lock(mutex);
    slot->next_free = free;
    free = slot;
  }

  // The mapping that holds `address`, or false. Async-signal-safe.
  bool Find(uintptr_t address, uintptr_t* end, std::atomic<bool>** torn) const {
    for (Block* block = blocks.load(); block != nullptr; block = block->next.load()) {
      for (GuardedMapping::Slot& slot : block->slots) {
        uint32_t version = slot.version.load();
        if (version % 2 != 0) continue;  // being changed, so not the one that a thread reads right now
        uintptr_t begin = slot.begin.load();
        *end = slot.end.load();
        *torn = slot.torn.load();
        if (slot.version.load() == version && begin <= address && address < *end) return true;
      }
    }
    return false;
  }
};

namespace {

MappingTable& Table() {
  static MappingTable* table = new MappingTable;
  return *table;
}

// Puts zero pages from the faulting one to the mapping's end: everything from there on is past the file's end.
// `end` is the mapping's, rounded up to a page by the kernel as by us.
void OnBusError(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  uintptr_t end = 0;
  std::atomic<bool>* torn = nullptr;
  MappingTable& table = Table();
  if (table.Find(address, &end, &torn)) {
    uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    uintptr_t from = address & ~(page - 1);
    uintptr_t to = (end + page - 1) & ~(page - 1);
    torn->store(true);
    if (mmap(reinterpret_cast<void*>(from), to - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
        MAP_FAILED) {
      errno = saved;
      return;
    }
  }
  // Not ours. The previous handler (a sanitizer's, say), or the default: the access faults again and the process ends.
  if ((table.previous.sa_flags & SA_SIGINFO) != 0 && table.previous.sa_sigaction != nullptr) {
    table.previous.sa_sigaction(signal, info, context);
    return;
  }
  ::signal(SIGBUS, SIG_DFL);
  errno = saved;
}

}  // namespace

void InstallMappingGuard() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &Table().previous);
  });
}

GuardedMapping::GuardedMapping(const void* begin, size_t size, std::atomic<bool>* torn) : slot_(Table().Take()) {
  uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  slot_->Set(address, address + size, torn);
}

GuardedMapping::~GuardedMapping() {
  slot_->Set(0, 0, nullptr);
  Table().Return(slot_);
}

}  // namespace kitlink::daemon
