// The thin transport against the daemon's real gRPC server, in another process.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "client/grpc_connection.h"
#include "daemon/daemon.h"
#include "daemon/testing/fake_linker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kitlink/v1/link.pb.h"

namespace kitlink::daemon {
namespace {

using client::CallStatus;
using client::Code;
using client::GrpcConnection;

class TransportTest : public testing::Test {
 protected:
  TransportTest() {
    char name[] = "/tmp/kitlink-tr-XXXXXX";
    folder_ = mkdtemp(name);
    DaemonOptions options;
    options.version = "1.0";
    RendezvousEnvironment environment;
    environment.kitlink_socket = folder_ + "/s";
    std::string error;
    EXPECT_TRUE(FindRendezvous(environment, &options.rendezvous, &error));
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    // Before anything of gRPC runs in this process, as that does not survive a fork.
    daemon_ = fork();
    if (daemon_ == 0) {
      close(ready[0]);
      options.ready_fd = ready[1];
      FakeWorld world;
      FakeFactory factory(&world);
      _exit(static_cast<int>(RunDaemon(options, factory, &error)));
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    EXPECT_EQ(connection_.Open(folder_ + "/s", geteuid(), &error), GrpcConnection::OpenResult::kOk) << error;
  }
  ~TransportTest() override {
    if (daemon_ > 0) {
      kill(daemon_, SIGTERM);
      int status = 0;
      waitpid(daemon_, &status, 0);
      EXPECT_EQ(status, 0) << "SIGTERM ends the daemon in order";
    }
    EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0);
  }

  CallStatus Call(const std::string& method, const std::string& request) {
    messages_.clear();
    return connection_.Call(method, request, [this](std::string_view message) {
      messages_.emplace_back(message);
      return true;
    });
  }

  std::string folder_;
  pid_t daemon_ = -1;
  GrpcConnection connection_;
  std::vector<std::string> messages_;
};

TEST_F(TransportTest, UnaryCallsFollowEachOther) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Call("/kitlink.v1.Linker/Version", "").ok());
    ASSERT_EQ(messages_.size(), 1u);
    v1::VersionResponse version;
    ASSERT_TRUE(version.ParseFromString(messages_[0]));
    EXPECT_EQ(version.pid(), daemon_);
  }
}

TEST_F(TransportTest, ErrorsHaveCodeAndText) {
  v1::ExplainRequest request;
  request.mutable_session()->set_output("/gr\xc3\xbc\xc3\x9f\n100%");
  CallStatus status = Call("/kitlink.v1.Linker/Explain", request.SerializeAsString());
  EXPECT_TRUE(status.answered);
  EXPECT_EQ(status.code, Code::kNotFound);
  EXPECT_EQ(status.message, "no session has linked /gr\xc3\xbc\xc3\x9f\n100%");
  status = Call("/kitlink.v1.Linker/Nonsense", "");
  EXPECT_TRUE(status.answered);
  EXPECT_EQ(static_cast<int>(status.code), 12) << "UNIMPLEMENTED";
  status = Call("/kitlink.v1.Linker/Explain", "\xff\xff\xff");
  EXPECT_TRUE(status.answered) << "no message";
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Call("/kitlink.v1.Linker/Version", "").ok()) << "the connection survives";
}

TEST_F(TransportTest, LargeMessagesBothWays) {
  v1::LinkRequest request;
  request.set_working_directory(folder_);
  std::string large(9 << 20, 'x');
  request.add_argv("--fake-error=" + large);
  ASSERT_TRUE(Call("/kitlink.v1.Linker/Link", request.SerializeAsString()).ok());
  ASSERT_EQ(messages_.size(), 2u);
  v1::LinkEvent event;
  ASSERT_TRUE(event.ParseFromString(messages_[0]));
  EXPECT_EQ(event.diagnostic().text(), large);
}

TEST_F(TransportTest, HealthAndReflection) {
  ASSERT_TRUE(Call("/grpc.health.v1.Health/Check", "").ok());
  EXPECT_THAT(messages_, testing::ElementsAre("\x08\x01")) << "status: SERVING";
  // list_services: "*"
  ASSERT_TRUE(Call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*").ok());
  ASSERT_EQ(messages_.size(), 1u);
  EXPECT_THAT(messages_[0], testing::HasSubstr("kitlink.v1.Linker"));
}

TEST_F(TransportTest, StoppingEarlyLeavesTheConnectionUsable) {
  v1::LinkRequest request;
  request.set_working_directory(folder_);
  request.add_argv("--fake-error=e");
  int seen = 0;
  CallStatus status = connection_.Call("/kitlink.v1.Linker/Link", request.SerializeAsString(), [&](std::string_view) {
    ++seen;
    return false;
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(seen, 1);
  EXPECT_TRUE(Call("/kitlink.v1.Linker/Version", "").ok());
}

TEST_F(TransportTest, DeadServerIsNoticed) {
  ASSERT_TRUE(Call("/kitlink.v1.Linker/Version", "").ok());
  kill(daemon_, SIGKILL);
  int status = 0;
  waitpid(daemon_, &status, 0);
  CallStatus call = Call("/kitlink.v1.Linker/Version", "");
  EXPECT_FALSE(call.answered);
  EXPECT_FALSE(Call("/kitlink.v1.Linker/Version", "").answered) << "and it stays broken";
  std::string error;
  GrpcConnection next;
  EXPECT_EQ(next.Open(folder_ + "/s", geteuid(), &error), GrpcConnection::OpenResult::kNobody);
  EXPECT_EQ(next.Open(folder_ + "/none", geteuid(), &error), GrpcConnection::OpenResult::kNobody);
  daemon_ = -1;
}

// The other door: calls that builds wait for, and what a refused client sends.
class DirectTransportTest : public TransportTest {
 protected:
  DirectTransportTest() {
    std::string error;
    EXPECT_EQ(connection_.Open(folder_ + "/s.direct", geteuid(), &error), GrpcConnection::OpenResult::kOk) << error;
  }

  v1::LinkRequest Request(const std::string& argument) {
    v1::LinkRequest request;
    request.set_working_directory(folder_);
    request.add_argv(argument);
    return request;
  }
};

TEST_F(DirectTransportTest, LinksFollowEachOtherOnOneConnection) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Call("/kitlink.v1.Linker/Link", Request("--fake-error=e").SerializeAsString()).ok());
    ASSERT_EQ(messages_.size(), 2u) << i;
    v1::LinkEvent event;
    ASSERT_TRUE(event.ParseFromString(messages_[1]));
    EXPECT_EQ(event.result().exit_status(), 1);
  }
}

TEST_F(DirectTransportTest, ErrorsHaveCodeAndText) {
  v1::RelinkRequest request;
  request.mutable_session()->set_output("/gr\xc3\xbc\xc3\x9f\n100%");
  CallStatus status = Call("/kitlink.v1.Linker/Relink", request.SerializeAsString());
  EXPECT_TRUE(status.answered);
  EXPECT_EQ(status.code, Code::kNotFound);
  EXPECT_EQ(status.message, "no session has linked /gr\xc3\xbc\xc3\x9f\n100%");
  for (const char* method : {"/kitlink.v1.Linker/Version", "/kitlink.v1.Linker/Nonsense", "/"}) {
    status = Call(method, "");
    EXPECT_TRUE(status.answered) << method;
    EXPECT_EQ(static_cast<int>(status.code), 12) << "UNIMPLEMENTED";
  }
  status = Call("/kitlink.v1.Linker/Link", "\xff\xff\xff");
  EXPECT_TRUE(status.answered) << "no message";
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Call("/kitlink.v1.Linker/Link", Request("--fake-error=e").SerializeAsString()).ok()) << "the connection survives";
}

TEST_F(DirectTransportTest, LargeMessagesBothWays) {
  std::string large(9 << 20, 'x');
  ASSERT_TRUE(Call("/kitlink.v1.Linker/Link", Request("--fake-error=" + large).SerializeAsString()).ok());
  ASSERT_EQ(messages_.size(), 2u);
  v1::LinkEvent event;
  ASSERT_TRUE(event.ParseFromString(messages_[0]));
  EXPECT_EQ(event.diagnostic().text(), large);
}

TEST_F(DirectTransportTest, StoppingEarlyLeavesTheConnectionUsable) {
  const std::string request = Request("--fake-error=e").SerializeAsString();
  int seen = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(connection_.Call("/kitlink.v1.Linker/Link", request, [&](std::string_view) { return ++seen, false; }).ok());
  }
  EXPECT_EQ(seen, 3);
}

// More than the pool has threads, each for another output: the server has read them all, however long it takes to link.
TEST_F(DirectTransportTest, ServerIsHeardWhileAllItsThreadsLink) {
  std::vector<std::thread> clients;
  std::atomic<int> answered{0};
  for (int i = 0; i < 40; ++i) {
    clients.emplace_back([&, i] {
      std::string error;
      GrpcConnection connection;
      ASSERT_EQ(connection.Open(folder_ + "/s.direct", geteuid(), &error), GrpcConnection::OpenResult::kOk) << error;
      v1::LinkRequest request = Request("--fake-wait=" + folder_ + "/go");
      request.add_argv("a");
      request.add_argv("-o");
      request.add_argv("out" + std::to_string(i));
      const CallStatus status = connection.Call("/kitlink.v1.Linker/Link", request.SerializeAsString(), [](std::string_view) { return true; });
      EXPECT_TRUE(status.ok()) << status.message;
      ++answered;
    });
  }
  // Longer than a client waits for a server that says nothing.
  std::this_thread::sleep_for(std::chrono::milliseconds(5500));
  EXPECT_EQ(answered, 0);
  std::ofstream(folder_ + "/go").put('x');
  for (std::thread& client : clients) client.join();
}

TEST_F(DirectTransportTest, ShutdownIsAnsweredAtTheEnd) {
  EXPECT_TRUE(Call("/kitlink.v1.Linker/Shutdown", "").ok());
  EXPECT_EQ(messages_.size(), 1u);
  int status = 0;
  EXPECT_EQ(waitpid(daemon_, &status, 0), daemon_);
  EXPECT_EQ(status, 0);
  daemon_ = -1;
  std::string error;
  EXPECT_EQ(connection_.Open(folder_ + "/s.direct", geteuid(), &error), GrpcConnection::OpenResult::kNobody);
}

TEST_F(DirectTransportTest, ServerThatDiesBeforeItReadsAnythingIsNobody) {
  kill(daemon_, SIGKILL);
  int status = 0;
  waitpid(daemon_, &status, 0);
  const CallStatus call = Call("/kitlink.v1.Linker/Link", "");
  EXPECT_FALSE(call.answered);
  EXPECT_TRUE(call.nobody) << call.message;
  daemon_ = -1;
}

TEST_F(DirectTransportTest, ServerThatDiesAmidARequestIsNobody) {
  kill(daemon_, SIGSTOP);
  std::thread killer([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    kill(daemon_, SIGKILL);
    kill(daemon_, SIGCONT);
  });
  const CallStatus call = Call("/kitlink.v1.Linker/Link", std::string(9 << 20, 'x'));
  EXPECT_FALSE(call.answered);
  EXPECT_TRUE(call.nobody) << "it cannot have begun: " << call.message;
  killer.join();
  int status = 0;
  waitpid(daemon_, &status, 0);
  daemon_ = -1;
}

TEST_F(TransportTest, ServerOfAnotherUserIsRefused) {
  std::string error;
  for (const char* door : {"/s", "/s.direct"}) {
    GrpcConnection other;
    EXPECT_EQ(other.Open(folder_ + door, geteuid() + 1, &error), GrpcConnection::OpenResult::kRefused);
  }
}

TEST(DecodePercent, OnlyWhatIsEncoded) {
  EXPECT_EQ(client::DecodePercent("a%20b%0A%25"), "a b\n%");
  EXPECT_EQ(client::DecodePercent("100% %zz %4"), "100% %zz %4");
  EXPECT_EQ(client::DecodePercent(""), "");
}

}  // namespace
}  // namespace kitlink::daemon
