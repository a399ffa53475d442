// compare_images REFERENCE MAP IMAGE: compares by hand; for looking into a test that fails.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "core/verify/testing/reference_builder.h"
#include "core/verify/verify.h"

namespace {
std::string ReadFile(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string cold = ReadFile(argv[1]), here = ReadFile(argv[3]);
  auto reference = kitlink::verify::ReferenceFromLld({cold.begin(), cold.end()}, ReadFile(argv[2]));
  if (!reference.ok()) {
    std::cerr << reference.status() << "\n";
    return 1;
  }
  auto report = kitlink::verify::CompareImages(*reference, kitlink::AsBytes(here));
  if (!report.ok()) {
    std::cerr << report.status() << "\n";
    return 1;
  }
  for (const auto& d : report->differences) std::cout << d.what << "\n";
  std::cout << report->atoms_compared << " atoms, " << report->sites_compared << " sites, "
            << report->debug_bytes_compared << " bytes of debug information\n";
  return report->equivalent() ? 0 : 1;
}
