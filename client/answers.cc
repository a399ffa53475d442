#include "client/answers.h"

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <utility>
#include <vector>

namespace kitlink::client {
namespace {

// The length of the UTF-8 sequence at the beginning of `text`, 0 when it is not valid (RFC 3629).
size_t Utf8Length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f)) return 0;
  if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) return 0;
  return length;
}

// Builds one JSON object; values are given as JSON.
class Object {
 public:
  Object& Add(std::string_view key, std::string_view json) {
    text_ += text_.empty() ? "{" : ",";
    text_ += JsonString(key);
    text_ += ":";
    text_ += json;
    return *this;
  }
  Object& Add(std::string_view key, uint64_t number) { return Add(key, std::to_string(number)); }
  Object& Add(std::string_view key, bool value) { return Add(key, std::string_view(value ? "true" : "false")); }
  Object& AddString(std::string_view key, std::string_view text) { return Add(key, JsonString(text)); }
  std::string Close() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

std::string Numbers(std::initializer_list<std::pair<std::string_view, uint64_t>> fields) {
  Object object;
  for (const auto& [key, value] : fields) object.Add(key, value);
  return object.Close();
}

std::string Printf(const char* format, auto... values) {
  char buffer[256];
  snprintf(buffer, sizeof(buffer), format, values...);
  return buffer;
}

std::string Duration(uint64_t microseconds) {
  if (microseconds < 10000) return Printf("%.2f ms", static_cast<double>(microseconds) / 1e3);
  if (microseconds < 1000000) return Printf("%.0f ms", static_cast<double>(microseconds) / 1e3);
  return Printf("%.1f s", static_cast<double>(microseconds) / 1e6);
}

std::string Uptime(uint64_t milliseconds) {
  uint64_t minutes = milliseconds / 60000;
  if (minutes == 0) return std::to_string(milliseconds / 1000) + " s";
  if (minutes < 60) return std::to_string(minutes) + " min";
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

std::string Bytes(uint64_t bytes) {
  if (bytes < 10000) return std::to_string(bytes) + " bytes";
  if (bytes < 10000000) return Printf("%.0f kB", static_cast<double>(bytes) / 1e3);
  if (bytes < 10000000000) return Printf("%.0f MB", static_cast<double>(bytes) / 1e6);
  return Printf("%.1f GB", static_cast<double>(bytes) / 1e9);
}

std::string Plural(uint64_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string Reason(const v1::LinkResult& result) {
  if (result.reason_number() == 0) return "";
  return result.reason() + (result.reason_detail().empty() ? "" : ": " + result.reason_detail());
}

// What happened, without the output's name.
std::string Deed(const v1::LinkResult& result) {
  const v1::AtomCounts& atoms = result.atoms();
  uint64_t touched = atoms.changed() + atoms.moved() + atoms.added() + atoms.removed();
  std::string time = " in " + Duration(result.timings().total());
  if (result.outcome() == v1::PATCHED) {
    if (touched == 0 && result.patched_ranges_size() == 0) return "up to date" + time;
    std::string text = "patched" + time + ": ";
    const std::pair<uint64_t, const char*> kinds[] = {{atoms.changed(), " changed"}, {atoms.moved(), " moved"},
                                                      {atoms.added(), " added"}, {atoms.removed(), " removed"}};
    const char* separator = "";
    for (const auto& [count, verb] : kinds) {
      if (count == 0) continue;
      text += separator + std::to_string(count) + verb;
      separator = ", ";
    }
    return text + " of " + Plural(atoms.total(), "atom") + "; " + Bytes(result.bytes_written()) + " in " +
           Plural(static_cast<uint64_t>(result.patched_ranges_size()), "place");
  }
  std::string text = "linked in full" + time + ": " + Plural(atoms.total(), "atom") + ", " + Bytes(result.bytes_written());
  std::string reason = Reason(result);
  return reason.empty() ? text : text + " (" + reason + ")";
}

using Row = std::vector<std::string>;

// Columns as wide as they need to be, two blanks apart; the first column left, the others right aligned.
std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      std::string pad(widths[i] - row[i].size(), ' ');
      line += (i == 0 ? "" : "  ") + (i == 0 ? row[i] + pad : pad + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

// How much memory there is for how many bytes of objects; empty when the daemon does not know.
std::string MemoryText(const v1::StatusResponse& status) {
  if (status.anonymous_bytes() == 0) return "";
  uint64_t inputs = 0;
  bool known = status.sessions_size() != 0;
  for (const v1::SessionInfo& session : status.sessions()) {
    inputs += session.input_bytes();
    known = known && session.input_bytes() != 0;
  }
  std::string text = Bytes(status.anonymous_bytes()) + " of memory";
  if (known) {
    text += Printf(", %.2f of the ", static_cast<double>(status.anonymous_bytes()) / static_cast<double>(inputs)) +
            Bytes(inputs) + " of objects linked";
  }
  return text + "\n";
}

}  // namespace

std::string JsonString(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    unsigned char c = static_cast<unsigned char>(text[0]);
    size_t length = Utf8Length(text);
    if (length == 0) {
      json += "\\ufffd";
      length = 1;
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += text[0];
    } else if (c < 0x20 || c == 0x7f) {
      json += Printf("\\u%04x", c);
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return json + "\"";
}

const char* OutcomeName(v1::Outcome outcome) {
  switch (outcome) {
    case v1::FULL:
      return "FULL";
    case v1::PATCHED:
      return "PATCHED";
    case v1::FELL_BACK_FULL:
      return "FELL_BACK_FULL";
    default:
      return "";
  }
}

std::string FormatDiagnostic(std::string_view program, const v1::Diagnostic& diagnostic) {
  const char* severity = diagnostic.severity() == v1::Diagnostic::NOTE      ? "note"
                         : diagnostic.severity() == v1::Diagnostic::WARNING ? "warning"
                                                                            : "error";
  return std::string(program) + ": " + severity + ": " + diagnostic.text() + "\n";
}

std::string ResultJson(const v1::LinkResult& result) {
  std::string ranges;
  for (const v1::ByteRange& range : result.patched_ranges()) {
    ranges += ranges.empty() ? "" : ",";
    ranges += Numbers({{"offset", range.offset()}, {"length", range.length()}});
  }
  const v1::AtomCounts& atoms = result.atoms();
  const v1::Counters& counters = result.counters();
  const v1::Timings& timings = result.timings();
  Object object;
  object.AddString("output", result.output())
      .AddString("outcome", OutcomeName(result.outcome()))
      .AddString("reason", result.reason())
      .Add("atoms", Numbers({{"total", atoms.total()},
                             {"changed", atoms.changed()},
                             {"moved", atoms.moved()},
                             {"added", atoms.added()},
                             {"removed", atoms.removed()}}))
      .Add("patched_ranges", "[" + ranges + "]")
      .Add("bytes_written", result.bytes_written())
      .Add("generation", result.generation())
      .AddString("build_id", result.build_id())
      .Add("counters", Numbers({{"full_resolves", counters.full_resolves()},
                                {"inputs_read", counters.inputs_read()},
                                {"bytes_read", counters.bytes_read()},
                                {"symbols_resolved", counters.symbols_resolved()},
                                {"relocations_applied", counters.relocations_applied()}}))
      .Add("timings_us", Numbers({{"total", timings.total()},
                                  {"detect", timings.detect()},
                                  {"read", timings.read()},
                                  {"diff", timings.diff()},
                                  {"gate", timings.gate()},
                                  {"plan", timings.plan()},
                                  {"commit", timings.commit()}}))
      .AddString("reason_detail", result.reason_detail())
      .Add("prepared_us", timings.prepared());
  return object.Close() + "\n";
}

std::string SessionJson(const v1::SessionInfo& session, uint64_t anonymous_bytes) {
  Object object;
  object.AddString("output", session.output())
      .AddString("session_key", session.session_key())
      .Add("generation", session.generation())
      .Add("units", session.units())
      .Add("atoms", session.atoms())
      .Add("symbols", session.symbols())
      .Add("bytes_held", session.bytes_held())
      .Add("input_bytes", session.input_bytes())
      .Add("daemon_anonymous_bytes", anonymous_bytes)
      .Add("hot", session.hot())
      .Add("busy", session.busy())
      .Add("queued", session.queued())
      .AddString("shadow", session.shadow())
      .AddString("fragmented", session.fragmented())
      .Add("renewal", session.renewal());
  return object.Close() + "\n";
}

std::string VerifyJson(const v1::VerifyResponse& response) {
  std::string differences;
  for (const std::string& difference : response.differences()) {
    differences += differences.empty() ? "" : ",";
    differences += JsonString(difference);
  }
  Object object;
  object.AddString("output", response.output())
      .Add("equivalent", response.equivalent())
      .Add("differences", "[" + differences + "]")
      .Add("atoms_compared", response.atoms_compared())
      .Add("sites_compared", response.sites_compared())
      .Add("debug_bytes_compared", response.debug_bytes_compared());
  return object.Close() + "\n";
}

std::string ResultText(const v1::LinkResult& result) { return result.output() + ": " + Deed(result) + "\n"; }

std::string StatusText(const v1::StatusResponse& status) {
  std::string text = "kitlinkd " + status.daemon().version() + " (process " + std::to_string(status.daemon().pid()) +
                     "), up " + Uptime(status.uptime_ms()) + ", " + Plural(status.links_running(), "request") +
                     " running\n" + MemoryText(status);
  if (status.sessions_size() == 0) return text + "no sessions\n";
  std::vector<Row> rows = {{"OUTPUT", "GENERATION", "UNITS", "ATOMS", "SYMBOLS", "MEMORY", "STATE"}};
  for (const v1::SessionInfo& session : status.sessions()) {
    std::string state = session.busy() ? "busy" : session.hot() ? "hot" : "cold";
    if (session.shadow().rfind("DIFFERENT", 0) == 0) state += ", " + session.shadow();
    if (!session.fragmented().empty()) state += ", fragmented: " + session.fragmented();
    if (session.renewal()) state += "; the next link will be full";
    if (session.queued() != 0) state += " (" + std::to_string(session.queued()) + " waiting)";
    rows.push_back({session.output(), std::to_string(session.generation()), std::to_string(session.units()),
                    std::to_string(session.atoms()), std::to_string(session.symbols()), Bytes(session.bytes_held()),
                    state});
  }
  return text + Table(rows);
}

std::string ExplainText(const v1::ExplainResponse& response) {
  std::string text;
  for (const v1::LinkResult& link : response.links()) {
    time_t seconds = static_cast<time_t>(link.finished_unix_ms() / 1000);
    tm local{};
    localtime_r(&seconds, &local);
    char clock[32];
    strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    text += "#" + std::to_string(link.generation()) + "  " + clock + "  " + Deed(link) + "\n";
    const v1::Timings& t = link.timings();
    text += "    " + Printf("detect %llu, read %llu, diff %llu, gate %llu, plan %llu, commit %llu us",
                            static_cast<unsigned long long>(t.detect()), static_cast<unsigned long long>(t.read()),
                            static_cast<unsigned long long>(t.diff()), static_cast<unsigned long long>(t.gate()),
                            static_cast<unsigned long long>(t.plan()), static_cast<unsigned long long>(t.commit()));
    if (t.prepared() != 0) text += Printf("; planned before it was asked for, in %llu us", static_cast<unsigned long long>(t.prepared()));
    text += "\n";
  }
  return text;
}

std::string VerifyText(const v1::VerifyResponse& response) {
  if (response.equivalent()) {
    return response.output() + ": equivalent to a link from scratch (" + Plural(response.atoms_compared(), "atom") +
           ", " + Plural(response.sites_compared(), "relocated field") + ", " +
           Bytes(response.debug_bytes_compared()) + " of debug information compared)\n";
  }
  std::string text = response.output() + ": DIFFERS from a link from scratch\n";
  for (const std::string& difference : response.differences()) text += "  " + difference + "\n";
  return text;
}

}  // namespace kitlink::client
