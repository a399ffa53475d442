#include "client/answers.h"

#include <string>

#include "gtest/gtest.h"

namespace kitlink::client {
namespace {

v1::LinkResult Patched() {
  v1::LinkResult result;
  result.set_output("/w/\"out\"\xff\n");
  result.set_outcome(v1::PATCHED);
  result.set_reason("none");
  result.mutable_atoms()->set_total(412);
  result.mutable_atoms()->set_changed(1);
  result.mutable_atoms()->set_moved(2);
  result.mutable_atoms()->set_added(3);
  result.mutable_atoms()->set_removed(4);
  for (uint64_t i = 1; i <= 2; ++i) {
    v1::ByteRange* range = result.add_patched_ranges();
    range->set_offset(i * 4096);
    range->set_length(i);
  }
  result.set_bytes_written(3);
  result.set_generation(18446744073709551615u);
  result.set_build_id("00ff");
  v1::Counters* counters = result.mutable_counters();
  counters->set_full_resolves(1);
  counters->set_inputs_read(2);
  counters->set_bytes_read(3);
  counters->set_symbols_resolved(4);
  counters->set_relocations_applied(5);
  v1::Timings* timings = result.mutable_timings();
  timings->set_total(840);
  timings->set_detect(1);
  timings->set_read(2);
  timings->set_diff(3);
  timings->set_gate(4);
  timings->set_plan(5);
  timings->set_commit(6);
  timings->set_prepared(7);
  return result;
}

// Scripts rely on every key and on their order (docs/protocol.md).
TEST(Answers, ResultJsonIsTheContract) {
  EXPECT_EQ(ResultJson(Patched()),
            R"({"output":"/w/\"out\"\ufffd\u000a","outcome":"PATCHED","reason":"none",)"
            R"("atoms":{"total":412,"changed":1,"moved":2,"added":3,"removed":4},)"
            R"("patched_ranges":[{"offset":4096,"length":1},{"offset":8192,"length":2}],)"
            R"("bytes_written":3,"generation":18446744073709551615,"build_id":"00ff",)"
            R"("counters":{"full_resolves":1,"inputs_read":2,"bytes_read":3,"symbols_resolved":4,)"
            R"("relocations_applied":5},)"
            R"("timings_us":{"total":840,"detect":1,"read":2,"diff":3,"gate":4,"plan":5,"commit":6},"reason_detail":"","prepared_us":7})"
            "\n");
}

TEST(Answers, EmptyResultHasEveryKey) {
  EXPECT_EQ(ResultJson(v1::LinkResult()),
            R"({"output":"","outcome":"","reason":"",)"
            R"("atoms":{"total":0,"changed":0,"moved":0,"added":0,"removed":0},"patched_ranges":[],)"
            R"("bytes_written":0,"generation":0,"build_id":"",)"
            R"("counters":{"full_resolves":0,"inputs_read":0,"bytes_read":0,"symbols_resolved":0,)"
            R"("relocations_applied":0},)"
            R"("timings_us":{"total":0,"detect":0,"read":0,"diff":0,"gate":0,"plan":0,"commit":0},"reason_detail":"","prepared_us":0})"
            "\n");
}

TEST(Answers, JsonStringsAreValidUtf8) {
  EXPECT_EQ(JsonString("a\\b\t\x7f"), R"("a\\b\u0009\u007f")");
  EXPECT_EQ(JsonString("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"), "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"");
  // Cut short, overlong, a surrogate, past U+10FFFF, a stray continuation.
  for (const char* bad : {"\xe2\x82", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
    EXPECT_NE(JsonString(bad).find("\\ufffd"), std::string::npos);
  }
}

TEST(Answers, PeopleReadWhatHappened) {
  v1::LinkResult result = Patched();
  result.set_output("out");
  EXPECT_EQ(ResultText(result),
            "out: patched in 0.84 ms: 1 changed, 2 moved, 3 added, 4 removed of 412 atoms; 3 bytes in 2 places\n");
  result.clear_atoms();
  result.clear_patched_ranges();
  EXPECT_EQ(ResultText(result), "out: up to date in 0.84 ms\n");
  result.set_outcome(v1::FELL_BACK_FULL);
  result.set_reason_number(10);
  result.set_reason("undefined-set-changed");
  result.set_reason_detail("main.o");
  EXPECT_EQ(ResultText(result),
            "out: linked in full in 0.84 ms: 0 atoms, 3 bytes (undefined-set-changed: main.o)\n");
}

TEST(Answers, DiagnosticsReadAsALinkers) {
  v1::Diagnostic diagnostic;
  diagnostic.set_severity(v1::Diagnostic::WARNING);
  diagnostic.set_text("two\nlines");
  EXPECT_EQ(FormatDiagnostic("ld.kit", diagnostic), "ld.kit: warning: two\nlines\n");
}

TEST(Answers, VerifyAndSessionJson) {
  v1::VerifyResponse verified;
  verified.set_output("o");
  verified.add_differences("a \"b\"");
  EXPECT_EQ(VerifyJson(verified),
            R"({"output":"o","equivalent":false,"differences":["a \"b\""],"atoms_compared":0,"sites_compared":0,)"
            R"("debug_bytes_compared":0})"
            "\n");
  EXPECT_EQ(SessionJson(v1::SessionInfo(), 0),
            R"({"output":"","session_key":"","generation":0,"units":0,"atoms":0,"symbols":0,"bytes_held":0,"input_bytes":0,)"
            R"("daemon_anonymous_bytes":0,"hot":false,"busy":false,"queued":0,"shadow":"","fragmented":"","renewal":false})"
            "\n");
}

TEST(Answers, StatusSaysWhenTheNextLinkIsToBeFull) {
  v1::StatusResponse status;
  v1::SessionInfo& session = *status.add_sessions();
  session.set_hot(true);
  session.set_fragmented(".text has 12 of 3456 bytes left");
  EXPECT_NE(StatusText(status).find("hot, fragmented: .text has 12 of 3456 bytes left\n"), std::string::npos) << StatusText(status);
  session.set_renewal(true);
  EXPECT_NE(StatusText(status).find("bytes left; the next link will be full\n"), std::string::npos) << StatusText(status);
}

TEST(Answers, StatusSaysWhatMemoryIsFor) {
  v1::StatusResponse status;
  EXPECT_EQ(StatusText(status).find("memory"), std::string::npos);
  status.set_anonymous_bytes(30'000'000);
  EXPECT_NE(StatusText(status).find("\n30 MB of memory\n"), std::string::npos) << StatusText(status);
  status.add_sessions()->set_input_bytes(20'000'000);
  status.add_sessions()->set_input_bytes(40'000'000);
  EXPECT_NE(StatusText(status).find("\n30 MB of memory, 0.50 of the 60 MB of objects linked\n"), std::string::npos)
      << StatusText(status);
  // Of a session that was taken up from disk it is not known.
  status.add_sessions();
  EXPECT_NE(StatusText(status).find("\n30 MB of memory\n"), std::string::npos) << StatusText(status);
}

}  // namespace
}  // namespace kitlink::client
