// kitlinkc: what people, watch modes and editors do with the daemon.

#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "client/answers.h"
#include "client/commands.h"
#include "client/daemon_starter.h"
#include "client/doctor.h"
#include "proto/rendezvous/version.h"

namespace kitlink::client {
namespace {

constexpr char kUsage[] =
    "usage: kitlinkc relink OUTPUT [--changed PATH[=CONTENT_ID]]... [--json]   link again, as it was linked last\n"
    "       kitlinkc watch OUTPUT... [--json]     link again whenever an input changes\n"
    "       kitlinkc status [--json]              what the daemon holds\n"
    "       kitlinkc explain OUTPUT [--json]      the links of an output, and why each was patched or not\n"
    "       kitlinkc verify OUTPUT [--json]       compare an output with a link from scratch\n"
    "       kitlinkc close OUTPUT                 forget what is known about an output\n"
    "       kitlinkc stop                         end the daemon after what it is doing\n"
    "       kitlinkc version [--json]\n"
    "       kitlinkc doctor [--json] [--] [COMPILE COMMAND]   whether what it makes is fit for exact relinks\n"
    "An OUTPUT is a path, or key:KEY for what was linked with --session-key=KEY.\n";

int Usage(const std::string& error) {
  if (error.empty()) {
    fputs(kUsage, stdout);
    return 0;
  }
  fprintf(stderr, "kitlinkc: error: %s\n%s", error.c_str(), kUsage);
  return 2;
}

// The rest of the command line is a compiler's.
int RunDoctor(int argc, char** argv) {
  int next = 2;
  bool json = false;
  for (; next < argc && argv[next][0] == '-'; ++next) {
    const std::string_view arg = argv[next];
    if (arg == "--help" || arg == "-h") return Usage("");
    if (arg == "--") {
      ++next;
      break;
    }
    if (arg != "--json") return Usage("doctor: unknown option: " + std::string(arg));
    json = true;
  }
  return Doctor(std::vector<std::string>(argv + next, argv + argc), json);
}

int Main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "doctor") return RunDoctor(argc, argv);
  Command command;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    if (arg == "--help" || arg == "-h") return Usage("");
    if (arg == "--json") {
      command.json = true;
    } else if (arg == "--changed" && i + 1 < argc) {
      command.changed.push_back(argv[++i]);
    } else if (arg.rfind("--changed=", 0) == 0) {
      command.changed.push_back(arg.substr(10));
    } else if (arg.size() > 1 && arg[0] == '-') {
      return Usage("unknown option: " + arg);
    } else {
      words.push_back(arg);
    }
  }
  if (words.empty()) return Usage("no command");
  std::string name = words[0];
  command.outputs.assign(words.begin() + 1, words.end());
  if (!ReadDaemonPolicy(&command.policy)) return Usage("KITLINK_DAEMON is none of auto, off, require");
  struct Entry {
    const char* name;
    size_t least, most;  // outputs
    int (*run)(const Command&);
  };
  constexpr Entry kCommands[] = {{"relink", 1, 1, Relink},   {"watch", 1, 1000, Watch}, {"status", 0, 0, Status},
                                 {"explain", 1, 1, Explain}, {"verify", 1, 1, Verify},  {"close", 1, 1, Close},
                                 {"stop", 0, 0, Stop},       {"version", 0, 0, Version}};
  for (const Entry& entry : kCommands) {
    if (name != entry.name) continue;
    if (command.outputs.size() < entry.least) return Usage(name + " needs an output");
    if (command.outputs.size() > entry.most) return Usage(name + ": too many arguments");
    if (!command.changed.empty() && name != "relink") return Usage("--changed belongs to relink");
    return entry.run(command);
  }
  return Usage("unknown command: " + name);
}

}  // namespace
}  // namespace kitlink::client

int main(int argc, char** argv) {
  int status = kitlink::client::Main(argc, argv);
  fflush(stdout);
  _exit(status);
}
