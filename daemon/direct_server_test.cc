// The server by itself: with our own client, with gRPC's, and with clients that make no sense.
#include "daemon/direct_server.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "client/grpc_connection.h"
#include "daemon/testing/wire_client.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

using client::CallStatus;
using client::GrpcConnection;

// A service of its own: "/echo" answers with the request twice, "/fail" with an error, "/hold" when Release is called.
class DirectServerTest : public testing::Test {
 protected:
  explicit DirectServerTest(size_t threads = 4) : pool_(std::make_unique<WorkerPool>(threads)) {
    server_ = std::make_unique<DirectServer>([this](std::shared_ptr<DirectCall> call) { Handle(std::move(call)); }, pool_.get());
    char name[] = "/tmp/kitlink-ds-XXXXXX";
    folder_ = mkdtemp(name);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 128), 0);
    loop_ = std::thread([this] { Loop(); });
  }
  ~DirectServerTest() override {
    const uint64_t one = 1;
    EXPECT_EQ(write(wake_, &one, sizeof(one)), ssize_t{sizeof(one)});
    loop_.join();
    pool_.reset();
    server_.reset();
    close(listener_);
    close(wake_);
    EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0);
  }

  std::string path() const { return folder_ + "/s"; }

  // What the daemon's main loop does.
  void Loop() {
    for (bool closing = false; !closing || !server_->empty();) {
      pollfd waits[] = {{wake_, POLLIN, 0}, {server_->fd(), POLLIN, 0}, {listener_, POLLIN, 0}};
      if (closing) waits[0].fd = waits[2].fd = -1;
      if (poll(waits, 3, -1) <= 0) continue;
      if (waits[1].revents != 0) server_->Poll();
      if (waits[2].revents != 0) {
        if (int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); fd >= 0) server_->Serve(fd);
      }
      if (waits[0].revents != 0) {
        closing = true;
        server_->Close();
      }
    }
  }

  void Handle(std::shared_ptr<DirectCall> call) {
    ++calls_;
    if (call->method() == "/test/echo") {
      call->Answer({call->request(), call->request()}, absl::OkStatus());
    } else if (call->method() == "/test/hold") {
      std::thread([this, call] {
        release_.WaitForNotification();
        call->Answer({call->cancelled() ? "gone" : "here"}, absl::OkStatus());
        if (call->cancelled()) ++gone_;
        ++released_;
      }).detach();
      held_.fetch_add(1);
    } else if (call->method() == "/test/fail") {
      call->Answer({}, absl::NotFoundError("100% nothing\n\xc3\xbc"));
    } else {
      call->Answer({}, absl::UnimplementedError(call->method() + std::string(1 << 20, '%')));
    }
  }

  std::unique_ptr<GrpcConnection> Connect() {
    auto connection = std::make_unique<GrpcConnection>();
    std::string error;
    EXPECT_EQ(connection->Open(path(), geteuid(), &error), GrpcConnection::OpenResult::kOk) << error;
    return connection;
  }
  // A connection without any client.
  int ConnectRaw() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  static std::vector<std::string> Echo(GrpcConnection& connection, const std::string& text) {
    std::vector<std::string> messages;
    const CallStatus status = connection.Call("/test/echo", text, [&](std::string_view message) {
      messages.emplace_back(message);
      return true;
    });
    EXPECT_TRUE(status.ok()) << status.message;
    return messages;
  }
  void ExpectServes() { EXPECT_THAT(Echo(*Connect(), "still"), testing::ElementsAre("still", "still")); }

  std::string folder_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<DirectServer> server_;
  int listener_ = -1;
  const int wake_ = eventfd(0, EFD_CLOEXEC);
  std::thread loop_;
  absl::Notification release_;
  std::atomic<int> calls_{0}, held_{0}, released_{0}, gone_{0};
};

TEST_F(DirectServerTest, Echoes) {
  auto connection = Connect();
  EXPECT_THAT(Echo(*connection, "a"), testing::ElementsAre("a", "a"));
  EXPECT_THAT(Echo(*connection, ""), testing::ElementsAre("", ""));
  const std::string large(5 << 20, 'l');
  EXPECT_THAT(Echo(*connection, large), testing::ElementsAre(large, large));
  const CallStatus status = connection->Call("/test/fail", "", [](std::string_view) { return true; });
  EXPECT_EQ(status.code, client::Code::kNotFound);
  EXPECT_EQ(status.message, "100% nothing\n\xc3\xbc");
}

TEST_F(DirectServerTest, ManyAtOnce) {
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&, i] {
      for (int k = 0; k < 50; ++k) {
        const std::string text = std::to_string(i * 1000 + k);
        EXPECT_THAT(Echo(*Connect(), text), testing::ElementsAre(text, text));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(calls_, 16 * 50);
}

TEST_F(DirectServerTest, StockClientsAreUnderstood) {
  auto channel = grpc::CreateChannel("unix:" + path(), grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  std::vector<std::thread> threads;
  // Several calls share the channel's connection.
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 20; ++k) {
        grpc::ClientContext context;
        grpc::CompletionQueue queue;
        // Over the window that a client grants by itself.
        const grpc::Slice slice(std::string(k == 7 ? 3 << 20 : 10, static_cast<char>('a' + i)));
        grpc::ByteBuffer request(&slice, 1), answer;
        context.set_wait_for_ready(true);
        auto call = stub.PrepareCall(&context, "/test/echo", &queue);
        call->StartCall(nullptr);
        void* tag = nullptr;
        bool ok = false;
        auto next = [&] { return queue.Next(&tag, &ok) && ok; };
        ASSERT_TRUE(next());
        call->WriteLast(request, grpc::WriteOptions(), nullptr);
        ASSERT_TRUE(next());
        for (int message = 0; message < 2; ++message) {
          call->Read(&answer, nullptr);
          ASSERT_TRUE(next());
          EXPECT_EQ(answer.Length(), slice.size());
        }
        grpc::Status status;
        call->Finish(&status, nullptr);
        ASSERT_TRUE(next());
        EXPECT_TRUE(status.ok()) << status.error_message();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DirectServerTest, ClientsThatGoAwayAreNoticed) {
  for (int i = 0; i < 3; ++i) {
    auto connection = Connect();
    const pid_t child = fork();
    if (child == 0) {
      connection->Call("/test/hold", "", [](std::string_view) { return true; });
      _exit(0);
    }
    while (held_ <= i) std::this_thread::yield();
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  release_.Notify();
  while (released_ < 3) std::this_thread::yield();
  EXPECT_EQ(gone_, 3);
  ExpectServes();
}

TEST_F(DirectServerTest, NonsenseEndsTheConnectionAndNothingElse) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const int fd = ConnectRaw();
    std::string bytes(i % 3 == 0 ? 5 : random() % 3000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (i % 2 == 0) bytes = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes;
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    if (i % 5 != 0) shutdown(fd, SHUT_WR);
    if (i % 7 != 0) close(fd);  // else it stays, and says nothing more
  }
  ExpectServes();
}

TEST_F(DirectServerTest, RequestsMayComeInPieces) {
  // A proxy that passes single bytes on.
  const int door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder_ + "/slow").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(door, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(door, 1), 0);
  std::thread proxy([&] {
    const int client = accept(door, nullptr, nullptr), server = ConnectRaw();
    std::thread back([&] {
      char buffer[4096];
      for (ssize_t count; (count = recv(server, buffer, sizeof(buffer), 0)) > 0;) {
        if (send(client, buffer, static_cast<size_t>(count), MSG_NOSIGNAL) != count) break;
      }
    });
    char byte;
    while (recv(client, &byte, 1, 0) == 1 && send(server, &byte, 1, MSG_NOSIGNAL) == 1) std::this_thread::yield();
    shutdown(server, SHUT_RDWR);
    back.join();
    close(client);
    close(server);
  });
  {
    GrpcConnection connection;
    std::string error;
    ASSERT_EQ(connection.Open(folder_ + "/slow", geteuid(), &error), GrpcConnection::OpenResult::kOk) << error;
    EXPECT_THAT(Echo(connection, "in pieces"), testing::ElementsAre("in pieces", "in pieces"));
  }
  proxy.join();
  close(door);
}

TEST_F(DirectServerTest, WhoDoesNotReadHoldsUpNobody) {
  const std::string large(8 << 20, 'l');
  std::vector<pid_t> stopped;
  for (int i = 0; i < 8; ++i) {  // more than there are threads
    auto connection = Connect();
    const pid_t child = fork();
    if (child == 0) {
      // The answer does not fit into the socket's buffer, and nobody takes it.
      connection->Call("/test/echo", large, [](std::string_view) {
        pause();
        return true;
      });
      _exit(0);
    }
    stopped.push_back(child);
  }
  while (calls_ < 8) std::this_thread::yield();
  ExpectServes();
  for (pid_t child : stopped) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

// A client that asks again and again and takes no answers, though its window is large enough, is served only so far; the rest
// when it does take them.
TEST_F(DirectServerTest, WhoTakesNoAnswersIsServedOnlySoFar) {
  constexpr int kCalls = 90, kFar = 40;
  const std::string request(512 << 10, 'r');  // answers are twice as long, and 16 MiB may wait
  WireClient client(0x7fffffff);
  const int door = ConnectRaw();
  for (int call = 0; call < kCalls; ++call) client.Begin("/test/echo", request);
  std::array<char, 4096> settings;
  for (int round = 0; round < 2; ++round) {  // more may be said once the server's window is known
    const std::string said = client.Say();
    ASSERT_EQ(send(door, said.data(), said.size(), MSG_NOSIGNAL), static_cast<ssize_t>(said.size()));
    if (round != 0) break;
    const ssize_t count = recv(door, settings.data(), settings.size(), 0);
    ASSERT_TRUE(count > 0 && client.Hear({settings.data(), static_cast<size_t>(count)}));
  }
  while (calls_ < 8) std::this_thread::yield();
  ExpectServes();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(calls_, kFar);
  std::vector<char> buffer(1 << 20);
  while (client.closed().size() < kCalls) {
    const ssize_t count = recv(door, buffer.data(), buffer.size(), 0);
    ASSERT_GT(count, 0);
    ASSERT_TRUE(client.Hear({buffer.data(), static_cast<size_t>(count)}));
  }
  EXPECT_EQ(calls_, kCalls + 1);
  close(door);
}

// A client that has the smallest window, and takes its time: the answer is out before the server hangs up.
TEST_F(DirectServerTest, ClosingLetsAnswersOut) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65535);
  auto channel = grpc::CreateCustomChannel("unix:" + path(), grpc::InsecureChannelCredentials(), arguments);
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(std::string(3 << 20, 'x'));
  grpc::ByteBuffer request(&slice, 1), answer;
  auto call = stub.PrepareCall(&context, "/test/echo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  call->WriteLast(request, grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  while (calls_ < 1) std::this_thread::yield();
  // The window is used up by now, and nothing waits in the socket.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server_->Close();
  for (int message = 0; message < 2; ++message) {
    call->Read(&answer, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok) << message;
    EXPECT_EQ(answer.Length(), slice.size());
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(DirectServerTest, CallsThatWereGivenUpAreNotBegun) {
  auto channel = grpc::CreateChannel("unix:" + path(), grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  auto begin = [&](grpc::ClientContext* context, const char* method) {
    auto call = stub.PrepareCall(context, method, &queue);
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(nullptr);
    EXPECT_TRUE(queue.Next(&tag, &ok) && ok);
    const grpc::Slice slice("x");
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    EXPECT_TRUE(queue.Next(&tag, &ok) && ok);
    return call;
  };
  grpc::ClientContext first_context, second_context;
  auto first = begin(&first_context, "/test/hold");
  while (held_ < 1) std::this_thread::yield();
  auto second = begin(&second_context, "/test/fail");
  second_context.TryCancel();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  release_.Notify();
  grpc::ByteBuffer answer;
  first->Read(&answer, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  ExpectServes();
  EXPECT_EQ(calls_, 2) << "hold and echo";
  grpc::Status status;
  for (auto* call : {first.get(), second.get()}) {
    call->Finish(&status, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok));
  }
}

TEST_F(DirectServerTest, LongTextsOfErrorsAreCut) {
  const CallStatus status = Connect()->Call("/test/nonsense", "", [](std::string_view) { return true; });
  EXPECT_TRUE(status.answered) << status.message.substr(0, 100);
  EXPECT_EQ(static_cast<int>(status.code), 12) << "UNIMPLEMENTED";
  EXPECT_EQ(status.message.substr(0, 16), "/test/nonsense%%");
  EXPECT_LE(status.message.size(), 4096u);
  ExpectServes();
}

class BusyDirectServerTest : public DirectServerTest {
 protected:
  BusyDirectServerTest() : DirectServerTest(1) {}
};

TEST_F(BusyDirectServerTest, ReadsWhileAllThreadsWork) {
  absl::Notification go;
  pool_->Post([&] { go.WaitForNotification(); });
  std::thread client([this] { ExpectServes(); });
  // It hears from the server at once, and is answered later.
  std::this_thread::sleep_for(std::chrono::milliseconds(5200));
  go.Notify();
  client.join();
}

TEST_F(DirectServerTest, ClosingLeavesNobodyWaiting) {
  auto idle = Connect(), busy = Connect();
  EXPECT_THAT(Echo(*idle, "a"), testing::ElementsAre("a", "a"));
  std::vector<std::string> messages;
  std::thread client([&] {
    EXPECT_TRUE(busy->Call("/test/hold", "", [&](std::string_view message) {
      messages.emplace_back(message);
      return true;
    }).ok());
  });
  while (held_ < 1) std::this_thread::yield();
  server_->Close();
  const CallStatus status = idle->Call("/test/echo", "b", [](std::string_view) { return true; });
  EXPECT_TRUE(status.nobody) << status.message;
  release_.Notify();
  client.join();
  EXPECT_THAT(messages, testing::ElementsAre("here"));
}

}  // namespace
}  // namespace kitlink::daemon
