// What the clients print: diagnostics as a linker words them, results for people and for scripts.
#ifndef CLIENT_ANSWERS_H_
#define CLIENT_ANSWERS_H_

#include <string>
#include <string_view>

#include "kitlink/v1/link.pb.h"

namespace kitlink::client {

// "ld.kit: error: TEXT\n", continuation lines unchanged.
std::string FormatDiagnostic(std::string_view program, const v1::Diagnostic& diagnostic);

// One line of the --json contract, newline included: docs/protocol.md lists the keys.
std::string ResultJson(const v1::LinkResult& result);
// `anonymous_bytes`: of the daemon, as all its sessions share its memory.
std::string SessionJson(const v1::SessionInfo& session, uint64_t anonymous_bytes);
std::string VerifyJson(const v1::VerifyResponse& response);

// One line for people, newline included.
std::string ResultText(const v1::LinkResult& result);
// A table.
std::string StatusText(const v1::StatusResponse& status);
std::string ExplainText(const v1::ExplainResponse& response);
std::string VerifyText(const v1::VerifyResponse& response);

// "FULL", "PATCHED", "FELL_BACK_FULL".
const char* OutcomeName(v1::Outcome outcome);

// A JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
std::string JsonString(std::string_view text);

}  // namespace kitlink::client

#endif  // CLIENT_ANSWERS_H_
