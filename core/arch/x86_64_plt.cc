#include "core/arch/x86_64_plt.h"

#include <algorithm>
#include <cstring>

#include "core/arch/x86_64_internal.h"

namespace kitlink::arch {
namespace {

// A 32-bit displacement at `at`, in an instruction that ends right after it; `end` is that address.
void PutDisplacement(uint8_t* at, uint64_t target, uint64_t end) {
  Store<uint32_t>(at, static_cast<uint32_t>(target - end));
}

}  // namespace

void WritePltHeader(MutableBytes at, uint64_t plt, uint64_t got_plt) {
  static constexpr uint8_t kCode[kPltEntrySize] = {
      0xff, 0x35, 0,    0,    0, 0,  // push GOTPLT+8(%rip): the link map
      0xff, 0x25, 0,    0,    0, 0,  // jmp *GOTPLT+16(%rip): the resolver
      0x0f, 0x1f, 0x40, 0x00,        // nopl 0(%rax)
  };
  if (at.size() < kPltEntrySize) return;
  std::memcpy(at.data(), kCode, sizeof kCode);
  PutDisplacement(at.data() + 2, got_plt + 8, plt + 6);
  PutDisplacement(at.data() + 8, got_plt + 16, plt + 12);
}

void WritePltEntry(MutableBytes at, uint64_t entry, uint64_t cell, uint32_t index, uint64_t plt) {
  static constexpr uint8_t kCode[kPltEntrySize] = {
      0xff, 0x25, 0, 0, 0, 0,  // jmp *cell(%rip)
      0x68, 0,    0, 0, 0,     // push $index
      0xe9, 0,    0, 0, 0,     // jmp plt
  };
  if (at.size() < kPltEntrySize) return;
  std::memcpy(at.data(), kCode, sizeof kCode);
  PutDisplacement(at.data() + 2, cell, entry + 6);
  Store<uint32_t>(at.data() + 7, index);
  PutDisplacement(at.data() + 12, plt, entry + 16);
}

void WritePltGotEntry(MutableBytes at, uint64_t entry, uint64_t cell) {
  if (at.size() < kPltEntrySize) return;
  at = at.subspan(0, kPltEntrySize);
  FillTraps(at);
  at[0] = 0xff;  // jmp *cell(%rip)
  at[1] = 0x25;
  PutDisplacement(at.data() + 2, cell, entry + 6);
}

uint32_t IslandSize(bool landing_pad) { return landing_pad ? 9 : 5; }

bool WriteIsland(MutableBytes at, uint64_t from, uint64_t to, bool landing_pad) {
  static constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  const uint32_t size = IslandSize(landing_pad);
  const uint64_t distance = to - (from + size);
  if (at.size() < size || !FitsSigned32(distance)) return false;
  if (landing_pad) std::memcpy(at.data(), kEndbr64, sizeof kEndbr64);
  at[size - 5] = 0xe9;  // jmp to
  Store<uint32_t>(at.data() + size - 4, static_cast<uint32_t>(distance));
  return true;
}

void FillTraps(MutableBytes at) { std::fill(at.begin(), at.end(), uint8_t{0xcc}); }  // int3

void FillNops(MutableBytes at) {
  // The lengths that Intel's and AMD's manuals recommend; row n holds the nop of n + 1 bytes.
  static constexpr size_t kLongest = 9;
  static constexpr uint8_t kNops[kLongest][kLongest] = {
      {0x90},                                                  // nop
      {0x66, 0x90},                                            // xchg %ax, %ax
      {0x0f, 0x1f, 0x00},                                      // nopl (%rax)
      {0x0f, 0x1f, 0x40, 0x00},                                // nopl 0(%rax)
      {0x0f, 0x1f, 0x44, 0x00, 0x00},                          // nopl 0(%rax,%rax)
      {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},                    // nopw 0(%rax,%rax)
      {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},              // nopl 0L(%rax)
      {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},        // nopl 0L(%rax,%rax)
      {0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},  // nopw 0L(%rax,%rax)
  };
  while (!at.empty()) {
    const size_t length = std::min(at.size(), kLongest);
    std::memcpy(at.data(), kNops[length - 1], length);
    at.remove_prefix(length);
  }
}

}  // namespace kitlink::arch
