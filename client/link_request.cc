#include "client/link_request.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "proto/rendezvous/version.h"

namespace kitlink::client {
namespace {

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

// The words of a response file: separated by blanks, with quotes and backslashes as libiberty's buildargv reads them.
std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\' && i + 1 < text.size() && quote != '\'') {
      word += text[++i];
      inside = true;
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      inside = true;
    } else if (isspace(static_cast<unsigned char>(c))) {
      if (inside) words.push_back(word);
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside) words.push_back(word);
  return words;
}

// The last -o of `arguments`, or "".
std::string LastOutput(const Arguments& arguments) {
  std::string_view output;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view arg = arguments[i];
    if (arg.size() < 2 || arg[0] != '-') continue;
    if (arg == "-o" || arg == "--output" || arg == "-output") {
      if (i + 1 < arguments.size()) output = arguments[++i];
    } else if (StartsWith(arg, "--output=")) {
      output = arg.substr(9);
    } else if (arg[1] == 'o' && !StartsWith(arg, "-omagic") && !StartsWith(arg, "-oformat")) {
      output = arg.substr(2);
    }
  }
  return std::string(output);
}

void Identify(const std::string& path, v1::FileIdentity* identity) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return;
  identity->set_device(info.st_dev);
  identity->set_inode(info.st_ino);
}

}  // namespace

std::string FindOutput(const Arguments& arguments) {
  std::string output = LastOutput(arguments);
  for (size_t i = 0; output.empty() && i < arguments.size(); ++i) {
    if (!StartsWith(arguments[i], "@")) continue;
    std::ifstream file(std::string(arguments[i].substr(1)), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<std::string> words = SplitWords(text);
    output = LastOutput(Arguments(words.begin(), words.end()));
  }
  return output.empty() ? "a.out" : output;
}

bool NamesOwnProcess(const Arguments& arguments) {
  for (std::string_view arg : arguments) {
    // Nearly every argument lacks both, and there may be ten thousand.
    if (arg.find("/dev/") == std::string_view::npos && arg.find("/proc/") == std::string_view::npos) continue;
    // The path in "PATH", "@PATH", "-LPATH", "--option=PATH".
    if (size_t equals = arg.find('='); equals != std::string_view::npos) {
      arg.remove_prefix(equals + 1);
    } else if (arg[0] == '@') {
      arg.remove_prefix(1);
    } else if (arg[0] == '-' && arg.size() > 2) {
      arg.remove_prefix(2);
    }
    for (std::string_view name : {"/proc/self", "/proc/thread-self", "/dev/fd/", "/dev/stdin", "/dev/stdout",
                                  "/dev/stderr", "/dev/tty"}) {
      if (StartsWith(arg, name)) return true;
    }
  }
  return false;
}

bool FillRequest(const Arguments& arguments, v1::LinkRequest* request, std::string* error) {
  char folder[PATH_MAX];
  if (getcwd(folder, sizeof(folder)) == nullptr || folder[0] != '/') {
    *error = std::string("the current folder has no path: ") + strerror(errno);
    return false;
  }
  request->mutable_argv()->Reserve(static_cast<int>(arguments.size()));
  for (std::string_view arg : arguments) request->add_argv(arg.data(), arg.size());
  request->set_working_directory(folder);
  mode_t mask = umask(0);
  umask(mask);
  request->set_umask(mask);
  for (const char* name : {"LD_RUN_PATH", "COLLECT_NO_DEMANGLE", "KITLINK_DETECT", "KITLINK_SAVE_REPRO"}) {
    if (const char* value = getenv(name)) request->add_environment(std::string(name) + "=" + value);
  }
  Identify("/", request->mutable_root());
  Identify(folder, request->mutable_working_directory_identity());
  std::string output = FindOutput(arguments);
  size_t slash = output.rfind('/');
  if (slash != std::string::npos) {
    struct stat info;
    std::string parent = output.substr(0, slash + 1);
    // A folder that does not exist is an error for the linker to report.
    if (stat(parent.c_str(), &info) == 0) Identify(parent, request->mutable_output_directory_identity());
  }
  request->set_client_version(kVersion);
  return true;
}

}  // namespace kitlink::client
