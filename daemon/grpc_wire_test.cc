// The wire by itself: what a client says and hears, without sockets.
#include "daemon/grpc_wire.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/testing/wire_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

// A client beside the wire that it speaks to.
class Client : public WireClient {
 public:
  explicit Client(GrpcWire* wire) : wire_(wire) {}
  int32_t Begin(const std::string& request, bool whole = true) { return WireClient::Begin("/test/call", request, whole); }
  // Both say what they have to say. False when the wire takes no more.
  bool Exchange() {
    for (;;) {
      std::string answer;
      wire_->Send(&answer);
      EXPECT_TRUE(Hear(answer));
      const std::string said = Say();
      if (answer.empty() && said.empty()) return true;
      if (!wire_->Receive(said)) return false;
    }
  }

 private:
  GrpcWire* const wire_;
};

TEST(GrpcWireTest, CallsComeInOrderAndAnswersReachTheirCallers) {
  auto wire = GrpcWire::Make();
  Client client(wire.get());
  const int32_t a = client.Begin("a"), b = client.Begin("b");
  ASSERT_TRUE(client.Exchange());
  ASSERT_TRUE(wire->has_call());
  GrpcWire::Call first = wire->Take(), second = wire->Take();
  EXPECT_FALSE(wire->has_call());
  EXPECT_EQ(absl::StrCat(first.method, first.request, second.request), "/test/callab");
  EXPECT_TRUE(wire->Answer(second.stream, {"for b"}, absl::OkStatus()));
  EXPECT_TRUE(wire->Answer(first.stream, {"for a"}, absl::OkStatus()));
  EXPECT_TRUE(wire->amid_answer());
  ASSERT_TRUE(client.Exchange());
  EXPECT_FALSE(wire->amid_answer());
  EXPECT_EQ(client.Heard(a), "for a");
  EXPECT_EQ(client.Heard(b), "for b");
  EXPECT_THAT(client.closed(), testing::UnorderedElementsAre(a, b));
}

TEST(GrpcWireTest, PartOfARequestIsNoCall) {
  auto wire = GrpcWire::Make();
  Client client(wire.get());
  client.Begin("part", false);
  ASSERT_TRUE(client.Exchange());
  EXPECT_TRUE(wire->amid_request());
  EXPECT_FALSE(wire->has_call());
}

TEST(GrpcWireTest, WhatIsGivenUpIsNoCall) {
  auto wire = GrpcWire::Make();
  Client client(wire.get());
  const int32_t part = client.Begin("part", false), whole = client.Begin("whole"), taken = client.Begin("taken");
  ASSERT_TRUE(client.Exchange());
  for (int32_t id : {part, whole}) client.GiveUp(id);
  ASSERT_TRUE(client.Exchange());
  EXPECT_FALSE(wire->amid_request());
  ASSERT_TRUE(wire->has_call());
  GrpcWire::Call call = wire->Take();
  EXPECT_EQ(call.request, "taken");
  EXPECT_FALSE(wire->has_call());
  client.GiveUp(taken);
  ASSERT_TRUE(client.Exchange());
  EXPECT_TRUE(wire->Answer(call.stream, {"too late"}, absl::OkStatus()));
  EXPECT_FALSE(wire->amid_answer());
}

// The bound is for what waits at once, in requests that are whole or not; not for what a connection says in its life.
TEST(GrpcWireTest, TakesOnlySoMuchAtOnce) {
  constexpr size_t kMost = 64 << 10;
  const std::string half(kMost / 2 - 100, 'h');
  {
    auto wire = GrpcWire::Make(kMost);
    Client client(wire.get());
    for (int i = 0; i < 20; ++i) {
      client.Begin(half);
      client.Begin(half);
      ASSERT_TRUE(client.Exchange()) << i;
      for (int call = 0; call < 2; ++call) {
        ASSERT_TRUE(wire->has_call()) << i;
        ASSERT_TRUE(wire->Answer(wire->Take().stream, {"done"}, absl::OkStatus()));
      }
    }
    for (int i = 0; i < 20; ++i) {  // what is given up waits no longer
      const int32_t whole = client.Begin(half), part = client.Begin(half, false);
      ASSERT_TRUE(client.Exchange()) << i;
      client.GiveUp(whole);
      client.GiveUp(part);
      ASSERT_TRUE(client.Exchange()) << i;
    }
  }
  for (bool whole : {true, false}) {
    auto wire = GrpcWire::Make(kMost);
    Client client(wire.get());
    client.Begin(half, whole);
    client.Begin(half, whole);
    ASSERT_TRUE(client.Exchange());
    client.Begin(std::string(300, 'x'), whole);
    EXPECT_FALSE(client.Exchange()) << whole;
    EXPECT_EQ(wire->has_call(), whole) << "what came before may be answered";
  }
}

TEST(GrpcWireTest, NonsenseIsRefused) {
  auto wire = GrpcWire::Make();
  EXPECT_FALSE(wire->Receive("GET / HTTP/1.1\r\n\r\n"));
}

}  // namespace
}  // namespace kitlink::daemon
