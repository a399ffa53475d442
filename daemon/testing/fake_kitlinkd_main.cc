// kitlinkd over the fake linker, for the end-to-end tests. A file PROGRAM.version beside it names its release.

#include <limits.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "daemon/daemon.h"
#include "daemon/testing/fake_linker.h"
#include "proto/rendezvous/version.h"

int main(int argc, char** argv) {
  kitlink::daemon::DaemonOptions options;
  options.version = kitlink::kVersion;
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof(program));
  if (length > 0) std::ifstream(std::string(program, static_cast<size_t>(length)) + ".version") >> options.version;
  int status = 0;
  if (!kitlink::daemon::ParseDaemonArguments(argc, argv, &options, &status)) return status;
  kitlink::daemon::FakeWorld world;
  kitlink::daemon::FakeFactory factory(&world);
  std::string error;
  kitlink::daemon::ExitStatus result = kitlink::daemon::RunDaemon(options, factory, &error);
  if (!error.empty()) fprintf(stderr, "kitlinkd: error: %s\n", error.c_str());
  return static_cast<int>(result);
}
