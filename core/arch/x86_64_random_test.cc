// Random bytes, relocations and traits: nothing crashes, nothing outside the section or the announced window
// is written, and Scan and Apply tell the same story. Meant to run under ASan and UBSan as well.
#include <cstdlib>
#include <memory>
#include <random>

#include "core/arch/x86_64_testing.h"
#include "gtest/gtest.h"

namespace kitlink::arch {
namespace {

using Random = std::mt19937_64;

bool Coin(Random& random) { return (random() & 1) != 0; }

uint64_t RandomAddress(Random& random) {
  switch (random() % 4) {
    case 0:
      return 0;
    case 1:
      return random();
    default:
      return random() & 0xffffff;
  }
}

uint32_t RandomType(Random& random) {
  switch (random() % 16) {
    case 0:
      return static_cast<uint32_t>(random());
    case 1:
      return static_cast<uint32_t>(random() & 0xff);
    default:
      return static_cast<uint32_t>(random() % 44);
  }
}

struct Sample {
  Bytes code;
  std::vector<Reloc> relocs;
};

// A sequence that may be relaxed as compilers write it.
Sample RandomSequence(Random& random) {
  static const Sample kSequences[] = {
      {{0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0},
       {Rel(R_X86_64_TLSGD, 4, -4), Rel(R_X86_64_PLT32, 12, -4)}},
      {{0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0x66, 0x48, 0xff, 0x15, 0, 0, 0, 0},
       {Rel(R_X86_64_TLSGD, 4, -4), Rel(R_X86_64_GOTPCRELX, 12, -4)}},
      {{0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0},
       {Rel(R_X86_64_TLSLD, 3, -4), Rel(R_X86_64_PLT32, 8, -4)}},
      {{0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0},
       {Rel(R_X86_64_TLSLD, 3, -4), Rel(R_X86_64_GOTPCRELX, 9, -4)}},
      {{0x48, 0x8b, 0x05, 0, 0, 0, 0}, {Rel(R_X86_64_GOTTPOFF, 3, -4)}},
      {{0x4c, 0x03, 0x3d, 0, 0, 0, 0}, {Rel(R_X86_64_GOTTPOFF, 3, -4)}},
      {{0x48, 0x8d, 0x05, 0, 0, 0, 0}, {Rel(R_X86_64_GOTPC32_TLSDESC, 3, -4)}},
      {{0xff, 0x10}, {Rel(R_X86_64_TLSDESC_CALL, 0, 0)}},
      {{0x4c, 0x8b, 0x3d, 0, 0, 0, 0}, {Rel(R_X86_64_REX_GOTPCRELX, 3, -4)}},
      {{0xff, 0x15, 0, 0, 0, 0}, {Rel(R_X86_64_GOTPCRELX, 2, -4)}},
      {{0xff, 0x25, 0, 0, 0, 0}, {Rel(R_X86_64_GOTPCRELX, 2, -4)}},
  };
  return kSequences[random() % std::size(kSequences)];
}

// Any bytes and relocations, near each other mostly.
Sample RandomNoise(Random& random) {
  Sample sample;
  sample.code.resize(random() % 24);
  for (uint8_t& byte : sample.code) byte = static_cast<uint8_t>(random());
  sample.relocs.resize(1 + random() % 3);
  uint64_t offset = random() % 8;
  for (Reloc& reloc : sample.relocs) {
    reloc = Rel(RandomType(random), offset, Coin(random) ? -4 : static_cast<int64_t>(RandomAddress(random)));
    offset = random() % 32 == 0 ? random() : offset + random() % 9;
  }
  return sample;
}

// Noise, a sequence, or a sequence that is shifted, cut, has one bit or one relocation wrong.
Sample RandomSample(Random& random) {
  if (random() % 3 == 0) return RandomNoise(random);
  Sample sample = RandomSequence(random);
  Bytes& code = sample.code;
  if (Coin(random)) {
    const size_t by = random() % 5;
    code.insert(code.begin(), by, uint8_t{0x90});
    for (Reloc& reloc : sample.relocs) reloc.offset += by;
  }
  if (random() % 4 == 0) code.erase(code.begin());
  if (random() % 4 == 0 && !code.empty()) code.resize(random() % code.size());
  if (random() % 4 == 0 && !code.empty())
    code[random() % code.size()] ^= static_cast<uint8_t>(1u << random() % 8);
  Reloc& reloc = sample.relocs[random() % sample.relocs.size()];
  if (random() % 8 == 0) reloc.type = RandomType(random);
  if (random() % 8 == 0) reloc.offset = RandomAddress(random);
  if (random() % 8 == 0) sample.relocs.pop_back();
  if (sample.relocs.empty()) sample.relocs = RandomNoise(random).relocs;
  return sample;
}

// Gives the fixture random code and values; returns the relocations.
std::vector<Reloc> Randomize(Random& random, Fixture& f) {
  Sample sample = RandomSample(random);
  f.bytes = sample.code;
  f.address = RandomAddress(random);
  f.output.shared = random() % 4 == 0;
  f.output.pic = f.output.shared || Coin(random);
  f.output.is_static = !f.output.shared && random() % 4 == 0;
  f.output.relax = random() % 4 != 0;
  f.output.copy_relocs = Coin(random);
  f.output.text_relocs = Coin(random);
  TargetTraits& traits = f.target.traits;
  traits.imported = random() % 4 == 0;
  traits.undefined_weak = random() % 8 == 0;
  traits.absolute = traits.undefined_weak || random() % 8 == 0;
  traits.ifunc = random() % 8 == 0;
  traits.tls = Coin(random);
  traits.function = Coin(random);
  for (uint64_t* address :
       {&f.target.address, &f.target.plt, &f.target.got, &f.target.gottp, &f.target.tlsgd, &f.target.tlsdesc,
        &f.target.size, &f.image.got_base, &f.image.tls_begin, &f.image.tls_pointer, &f.image.tlsld}) {
    *address = RandomAddress(random);
  }
  return sample.relocs;
}

// Bytes that changed must lie within [offset - lead, offset + width + trail) of the first relocation.
void ExpectWithinWindow(const Bytes& before, const Bytes& after, const Reloc& reloc) {
  const RelocInfo info = X86_64().Info(reloc.type);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    ASSERT_GE(i + info.lead, reloc.offset);
    ASSERT_LT(i, reloc.offset + info.width + info.trail);
  }
}

TEST(Random, ScanAndApplyAgreeAndStayInside) {
  Random random(20240229);
  int applied = 0, sequences = 0;
  for (int round = 0; round < 300000; ++round) {
    Fixture f;
    const std::vector<Reloc> relocs = Randomize(random, f);
    // On the heap and exactly as long as the section, so that ASan sees a byte too many on either side.
    std::unique_ptr<uint8_t[]> exact(new uint8_t[f.bytes.size()]);
    std::copy(f.bytes.begin(), f.bytes.end(), exact.get());
    const MutableBytes bytes(exact.get(), f.bytes.size());
    const ScanResult scan = X86_64().Scan(relocs, bytes, Coin(random), f.target.traits, f.output);
    const ApplyResult apply = X86_64().Apply(relocs, bytes, f.address, f.target, f.image, f.output);
    const Bytes after(exact.get(), exact.get() + f.bytes.size());
    ASSERT_GE(scan.consumed, 1);
    ASSERT_LE(scan.consumed, relocs.size());
    if (apply.error != nullptr) {
      ASSERT_EQ(after, f.bytes) << "an error, yet something was written: " << apply.error;
    } else {
      ++applied;
      if (scan.error == nullptr) {
        ASSERT_EQ(apply.consumed, scan.consumed);
      }
      ASSERT_NO_FATAL_FAILURE(ExpectWithinWindow(f.bytes, after, relocs[0]));
    }
    sequences += apply.consumed == 2;
  }
  // The generator must not degenerate into errors only.
  EXPECT_GT(applied, 20000);
  EXPECT_GT(sequences, 2000);
}

TEST(Random, WholeSectionsInOrder) {
  Random random(7);
  for (int round = 0; round < 50000; ++round) {
    Fixture f;
    const std::vector<Reloc> relocs = Randomize(random, f);
    absl::Span<const Reloc> rest = relocs;
    while (!rest.empty()) {
      const ApplyResult result =
          X86_64().Apply(rest, absl::MakeSpan(f.bytes), f.address, f.target, f.image, f.output);
      ASSERT_GE(result.consumed, 1);
      ASSERT_LE(result.consumed, rest.size());
      rest.remove_prefix(result.consumed);
    }
  }
}

TEST(Random, Unloaded) {
  Random random(11);
  for (int round = 0; round < 50000; ++round) {
    Bytes bytes(random() % 20);
    const Reloc reloc = Rel(RandomType(random), random() % 24, static_cast<int64_t>(RandomAddress(random)));
    ImageValues image;
    image.tls_begin = RandomAddress(random);
    const ApplyResult result =
        X86_64().ApplyUnloaded(reloc, absl::MakeSpan(bytes), RandomAddress(random), Coin(random), image);
    ASSERT_EQ(result.consumed, 1);
    X86_64().ImplicitAddend(reloc.type, bytes);
  }
}

}  // namespace
}  // namespace kitlink::arch
