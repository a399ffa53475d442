// Measures linkers taking turns, as their caller sees them: the wall time of a process. Started by
// tools/bench/bench, which compiles it and prepares what it needs; needs nothing but the C++ library.
//
// Usage: runner WORKLOAD PROGRAM ROUNDS PEER_ROUNDS ARGUMENTS FOLDER EDITS PREFIX PEER...
//   ARGUMENTS  response file with the linker's arguments, the output excepted
//   FOLDER     for outputs
//   EDITS      a line a round: objects, each with its edited version, "--", arguments that make the program show the
//   edit
//   PREFIX     an installation of kitlink; PEERs are other linkers' programs, run in the first PEER_ROUNDS
//   rounds only. A PEER that is called "nothing" is a static program that does nothing; it gets the arguments as they are.
// The objects are as they were again when it ends; the edits of a run add up until then.
// Prints JSON, one object a line for each linker, and a table to the standard error stream.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

extern char** environ;

namespace {

using Strings = std::vector<std::string>;

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << "bench: " << what << "\n";
  std::exit(1);
}

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

struct Finished {
  int status = 0;
  double ms = 0;
};

// Runs a program with its output in `log`; what is named twice in the environment counts as first given.
// The time is that from before the start to after the end.
Finished Run(const Strings& argv, const std::string& log, const Strings& more_environment = {}) {
  std::vector<char*> args, environment;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  for (const std::string& e : more_environment) environment.push_back(const_cast<char*>(e.c_str()));
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  Finished result;
  pid_t pid = 0;
  const double start = Now();
  if (posix_spawn(&pid, args[0], &actions, nullptr, args.data(), environment.data()) != 0)
    Fail("cannot run " + argv[0]);
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) Fail("cannot wait for " + argv[0]);
  result.ms = Now() - start;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  posix_spawn_file_actions_destroy(&actions);
  return result;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// In place, as assemblers write.
void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  if (!out) Fail("cannot write " + path);
}

struct Edit {
  std::vector<std::pair<std::string, std::string>> objects;  // each with its edited version
  Strings arguments;
  std::string name() const {
    std::string name;
    for (const std::string& argument : arguments) name += argument + " ";
    return name;
  }
};

std::vector<Edit> ReadEdits(const std::string& path) {
  std::vector<Edit> edits;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    Edit edit;
    for (std::string object, version; words >> object && object != "--" && words >> version;) {
      edit.objects.push_back({object, version});
    }
    for (std::string word; words >> word;) edit.arguments.push_back(word);
    edits.push_back(edit);
  }
  return edits;
}

struct Contender {
  std::string name;
  Strings argv;
  Strings environment;
  std::string output;  // empty: links nothing
  bool daemon = false;
  std::vector<double> times;
  std::map<std::string, int> outcomes;
};

class Bench {
 public:
  Bench(const Strings& args)
      : workload_(args[0]),
        program_(args[1]),
        rounds_(std::stoi(args[2])),
        peer_rounds_(std::stoi(args[3])),
        arguments_("@" + args[4]),
        folder_(args[5]),
        edits_(ReadEdits(args[6])),
        prefix_(args[7]),
        log_(folder_ + "/log") {
    contenders_.push_back({"/bin/true", {"/bin/true"}, {}, "", false, {}, {}});
    AddKit();
    for (size_t i = 8; i < args.size(); ++i) {
      const std::string name = args[i].substr(args[i].rfind('/') + 1), out = folder_ + "/" + name + ".out";
      if (name == "nothing") {
        contenders_.push_back({name, WithArguments(args[i], true), {}, "", false, {}, {}});
        continue;
      }
      contenders_.push_back({name, {args[i], arguments_, "-o", out}, {}, out, false, {}, {}});
    }
    if (edits_.empty() || rounds_ > static_cast<int>(edits_.size()))
      Fail("too few edits for that many rounds");
    for (const Edit& edit : edits_) {
      for (const auto& [object, version] : edit.objects) pristine_.emplace(object, ReadFile(object));
    }
  }

  void Measure() {
    if (workload_ != "cold") WarmUp();
    for (int round = 0; round < rounds_; ++round) Round(round);
    for (const auto& [path, bytes] : pristine_) WriteFile(path, bytes);
  }

  void Print() {
    for (Contender& c : contenders_) {
      if (c.times.empty()) continue;
      const std::vector<double> in_order = c.times;
      std::sort(c.times.begin(), c.times.end());
      const size_t n = c.times.size();
      const double median = n % 2 != 0 ? c.times[n / 2] : (c.times[n / 2 - 1] + c.times[n / 2]) / 2;
      const double p95 = c.times[std::min((n * 95) / 100, n - 1)];
      std::printf(
          "{\"workload\":\"%s\",\"program\":\"%s\",\"linker\":\"%s\",\"rounds\":%zu,\"least_ms\":%.2f,"
          "\"median_ms\":%.2f,\"p95_ms\":%.2f,\"outcomes\":{",
          workload_.c_str(), program_.c_str(), c.name.c_str(), n, c.times[0], median, p95);
      const char* comma = "";
      for (const auto& [outcome, count] : c.outcomes) {
        std::printf("%s\"%s\":%d", comma, outcome.c_str(), count);
        comma = ",";
      }
      std::printf("},\"ms\":[");
      for (size_t i = 0; i < n; ++i) std::printf("%s%.2f", i == 0 ? "" : ",", in_order[i]);
      std::printf("]}\n");
      std::fprintf(stderr, "%-14s %-10s %-14s least %9.2f  median %9.2f  p95 %9.2f ms\n", workload_.c_str(),
                   program_.c_str(), c.name.c_str(), c.times[0], median, p95);
      for (const auto& [outcome, count] : c.outcomes) std::fprintf(stderr, "    %d %s\n", count, outcome.c_str());
    }
  }

 private:
  // The linker's arguments, without a response file where the workload is about that.
  Strings WithArguments(const std::string& program, bool spelled_out) const {
    Strings argv = {program};
    if (!spelled_out) {
      argv.push_back(arguments_);
      return argv;
    }
    std::ifstream in(arguments_.substr(1));
    for (std::string word; in >> word;) argv.push_back(word);
    return argv;
  }

  void AddKit() {
    const std::string out = folder_ + "/kit.out";
    Strings argv = WithArguments(prefix_ + "/bin/ld.kit", workload_ == "null_argv");
    argv.insert(argv.end(), {"-o", out});
    Contender kit{"ld.kit", argv, {}, out, workload_ != "cold", {}, {}};
    // Cold means that nothing is parsed yet: a process of its own.
    kit.environment = {workload_ == "cold" ? "KITLINK_DAEMON=off" : "KITLINK_DAEMON=require"};
    if (workload_ == "restart") kit.environment = {"KITLINK_DAEMON=auto"};
    contenders_.push_back(kit);
  }

  // The first link of the daemon's, and of its spare image if it makes one.
  void WarmUp() {
    Contender& kit = contenders_[1];
    // A stub daemon's output is no program.
    if (workload_ == "floor") unlink(kit.output.c_str());
    for (int i = 0; i < 2; ++i) {
      if (Run(kit.argv, log_, {"KITLINK_DAEMON=auto"}).status != 0) Fail("ld.kit failed: " + ReadFile(log_));
      Settle();
    }
    if (workload_ == "floor") return;
    for (const Edit& edit : edits_) {
      Strings argv = {kit.output};
      argv.insert(argv.end(), edit.arguments.begin(), edit.arguments.end());
      if (Run(argv, log_).status != 0) Fail(kit.output + " failed");
      shown_[edit.name()] = ReadFile(log_);
    }
  }

  // Lets the daemon finish what it does after its answer: a person does not edit within a second either.
  void Settle() { usleep(program_ == "n1000" ? 300'000 : 1'500'000); }

  bool Edits() const { return workload_ != "cold" && workload_ != "null" && workload_ != "null_argv"; }

  // What is timed: mostly the linker; `relink_changed` says to the daemon which inputs an editor has saved.
  Strings Command(const Contender& c, const Edit& edit) const {
    if (!c.daemon || workload_ != "relink_changed") return c.argv;
    Strings argv = {prefix_ + "/bin/kitlinkc", "relink", c.output};
    for (const auto& [object, version] : edit.objects) argv.insert(argv.end(), {"--changed", object});
    return argv;
  }

  void Round(int round) {
    const Edit& edit = edits_[static_cast<size_t>(round)];
    if (Edits()) {
      for (const auto& [object, version] : edit.objects) WriteFile(object, ReadFile(version));
    }
    std::string shown;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      Contender& c = contenders_[(i + static_cast<size_t>(round)) % contenders_.size()];
      const bool peer = !c.output.empty() && c.argv[0].find(prefix_ + "/") != 0;
      if (peer && round >= peer_rounds_) continue;
      if (c.daemon && workload_ == "restart") Run({prefix_ + "/bin/kitlinkc", "stop"}, log_);
      const Finished link = Run(Command(c, edit), log_, c.environment);
      if (link.status != 0) Fail(c.name + " failed: " + ReadFile(log_));
      c.times.push_back(link.ms);
      if (c.output.empty()) continue;
      Check(c, edit, &shown);
    }
    shown_[edit.name()] = shown;
    if (contenders_[1].daemon) Settle();
  }

  // All linkers' programs must show the same, and the daemon's answer must be what the workload is about.
  void Check(Contender& c, const Edit& edit, std::string* shown) {
    if (c.daemon) {
      Run({prefix_ + "/bin/kitlinkc", "explain", c.output, "--json"}, log_);
      const std::string text = ReadFile(log_);
      const std::string key = "\"outcome\":\"";
      const size_t at = text.rfind(key);
      if (at == std::string::npos) Fail("kitlinkc explain says: " + text);
      const size_t from = at + key.size();
      std::string outcome = text.substr(from, text.find('"', from) - from);
      const std::string reason_key = "\"reason\":\"";
      const size_t reason = text.find(reason_key, from);
      if (outcome != "PATCHED" && reason != std::string::npos) {
        const size_t begin = reason + reason_key.size();
        outcome += " (" + text.substr(begin, text.find('"', begin) - begin) + ")";
      }
      ++c.outcomes[outcome];
    }
    if (workload_ == "floor") return;
    Strings argv = {c.output};
    argv.insert(argv.end(), edit.arguments.begin(), edit.arguments.end());
    if (Run(argv, log_).status != 0) Fail(c.output + " failed");
    const std::string text = ReadFile(log_);
    if (!shown->empty() && text != *shown)
      Fail(c.name + "'s program prints " + text + " where others print " + *shown);
    *shown = text;
    if (Edits() && shown_[edit.name()] == text)
      Fail(c.name + "'s program does not show the edit of " + edit.objects[0].first);
  }

  const std::string workload_, program_;
  const int rounds_, peer_rounds_;
  const std::string arguments_, folder_;
  const std::vector<Edit> edits_;
  const std::string prefix_, log_;
  std::vector<Contender> contenders_;
  std::map<std::string, std::string> pristine_;  // objects as they were
  std::map<std::string, std::string> shown_;     // by object: what its program printed without an edit
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) {
    std::cerr << "usage: runner WORKLOAD PROGRAM ROUNDS PEER_ROUNDS ARGUMENTS FOLDER EDITS PREFIX PEER...\n";
    return 2;
  }
  Bench bench(Strings(argv + 1, argv + argc));
  bench.Measure();
  bench.Print();
  return 0;
}
