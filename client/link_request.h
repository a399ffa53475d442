// From a linker's command line to the message that asks the daemon for it.
#ifndef CLIENT_LINK_REQUEST_H_
#define CLIENT_LINK_REQUEST_H_

#include <string>
#include <string_view>
#include <vector>

#include "kitlink/v1/link.pb.h"

namespace kitlink::client {

using Arguments = std::vector<std::string_view>;  // without the program's name

// The output that the arguments name ("-o x", "-ox", "--output=x"; response files are looked into when nothing else
// names one), or "a.out".
std::string FindOutput(const Arguments& arguments);

// True when an argument names something of this very process (/proc/self, /dev/fd, /dev/stdin, ...), which would be
// the daemon's own there.
bool NamesOwnProcess(const Arguments& arguments);

// Fills in everything: arguments, folder, umask, what paths mean here, and the environment that matters. False with
// `error` when this process has no folder any more.
bool FillRequest(const Arguments& arguments, v1::LinkRequest* request, std::string* error);

}  // namespace kitlink::client

#endif  // CLIENT_LINK_REQUEST_H_
