// kitlinkc doctor: is what a compile command makes fit for relinks that are exact?
#ifndef CLIENT_DOCTOR_H_
#define CLIENT_DOCTOR_H_

#include <string>
#include <vector>

namespace kitlink::client {

struct Finding {
  enum Grade { kGood, kNote, kBad, kUnknown } grade = kGood;
  std::string check;  // a name for scripts: "deterministic", "dependencies", ...
  std::string text;   // for people
};

// Compiles what `command` compiles, some times and in some variations, into a folder of its own, and says what it finds.
// Nothing of the user's is written. One finding of check "command", kUnknown, when it is none that makes one object of one
// source.
std::vector<Finding> Examine(const std::vector<std::string>& command);

// `command`, or where it is empty each of the machine's compilers with the flags that kitlink likes best. Prints what was
// found. 0: nothing bad; 1: something is; 2: it is no compile command.
int Doctor(const std::vector<std::string>& command, bool json);

}  // namespace kitlink::client

#endif  // CLIENT_DOCTOR_H_
