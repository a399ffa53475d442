#include "daemon/service.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "daemon/convert.h"
#include "daemon/output_path.h"
#include "daemon/testing/fake_linker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

// What came back from one Link or Relink.
struct Answer {
  std::vector<v1::Diagnostic> diagnostics;
  v1::LinkResult result;
  v1::Refusal refusal;
  int results = 0;
  grpc::Status status;
};

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    char name[] = "/tmp/kitlink-sv-XXXXXX";
    folder_ = mkdtemp(name);
    std::ofstream(folder_ + "/a") << "hello";
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(-1);
    server_ = builder.BuildAndStart();
    stub_ = v1::Linker::NewStub(server_->InProcessChannel(grpc::ChannelArguments()));
  }
  ~ServiceTest() override {
    lifecycle_.Drain(nullptr);
    lifecycle_.ListenerClosed();
    while (!lifecycle_.finished()) std::this_thread::yield();
    server_->Shutdown();
    pool_.reset();
    EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0);
  }

  v1::LinkRequest Request(std::vector<std::string> args) {
    v1::LinkRequest request;
    for (std::string& arg : args) request.add_argv(std::move(arg));
    request.set_working_directory(folder_);
    request.set_umask(022);
    request.set_client_version("1.0");
    return request;
  }

  static Answer Collect(std::unique_ptr<grpc::ClientReader<v1::LinkEvent>> reader) {
    Answer answer;
    v1::LinkEvent event;
    while (reader->Read(&event)) {
      EXPECT_EQ(answer.results, 0) << "something follows the result";
      if (event.has_diagnostic()) answer.diagnostics.push_back(event.diagnostic());
      if (event.has_refusal()) answer.refusal = event.refusal();
      if (event.has_result()) {
        answer.result = event.result();
        ++answer.results;
      }
    }
    answer.status = reader->Finish();
    return answer;
  }
  Answer Link(const v1::LinkRequest& request) {
    grpc::ClientContext context;
    return Collect(stub_->Link(&context, request));
  }
  Answer Link(std::vector<std::string> args) { return Link(Request(std::move(args))); }
  Answer Relink(const v1::RelinkRequest& request) {
    grpc::ClientContext context;
    return Collect(stub_->Relink(&context, request));
  }
  v1::SessionName Name(const std::string& output) {
    v1::SessionName name;
    name.set_output(folder_ + "/" + output);
    return name;
  }
  void Touch(const std::string& name) { std::ofstream(folder_ + "/" + name).put('x'); }
  void AwaitFile(const std::string& name) {
    struct stat info;
    while (stat((folder_ + "/" + name).c_str(), &info) != 0) std::this_thread::yield();
  }

  std::string folder_;
  FakeWorld world_;
  FakeFactory factory_{&world_};
  Lifecycle lifecycle_{[] {}};
  std::unique_ptr<Log> log_ = NoLog();
  std::unique_ptr<WorkerPool> pool_ = std::make_unique<WorkerPool>(8);
  SessionRegistry sessions_{&factory_, pool_.get(), 1 << 30};
  LinkerService service_{{&factory_, &sessions_, pool_.get(), &lifecycle_, log_.get(), "1.0"}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Linker::Stub> stub_;
};

TEST_F(ServiceTest, LinksAndExplains) {
  Answer answer = Link({"a", "-o", "out"});
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.results, 1);
  EXPECT_EQ(answer.result.exit_status(), 0);
  EXPECT_EQ(answer.result.output(), folder_ + "/out");
  EXPECT_EQ(answer.result.outcome(), v1::FULL);
  EXPECT_EQ(answer.result.reason(), "first-link");
  EXPECT_EQ(Link({"a", "-o", "./out"}).result.outcome(), v1::PATCHED) << "the same output by another name";

  grpc::ClientContext context;
  v1::ExplainRequest request;
  *request.mutable_session() = Name("out");
  v1::ExplainResponse response;
  ASSERT_TRUE(stub_->Explain(&context, request, &response).ok());
  ASSERT_EQ(response.links_size(), 2);
  EXPECT_EQ(response.links(0).generation(), 1u);
  EXPECT_EQ(response.links(1).generation(), 2u);
  EXPECT_GT(response.links(1).finished_unix_ms(), 0);
}

TEST_F(ServiceTest, FailuresAreAnswers) {
  Answer answer = Link({"a", "-o", "out", "--fake-warning=w", "--fake-error=e"});
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.result.exit_status(), 1);
  ASSERT_EQ(answer.diagnostics.size(), 2u);
  EXPECT_EQ(answer.diagnostics[0].severity(), v1::Diagnostic::WARNING);
  EXPECT_EQ(answer.diagnostics[1].text(), "e");
  answer = Link({"--nonsense"});
  EXPECT_EQ(answer.result.exit_status(), 2);
  ASSERT_EQ(answer.diagnostics.size(), 1u);
  EXPECT_EQ(answer.diagnostics[0].text(), "unknown option: --nonsense");
  // A failed first link leaves no session to relink.
  v1::RelinkRequest relink;
  *relink.mutable_session() = Name("out");
  EXPECT_EQ(Relink(relink).status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, MalformedRequestsAreErrors) {
  v1::LinkRequest request = Request({"a"});
  request.set_working_directory("relative");
  EXPECT_EQ(Link(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Relink(v1::RelinkRequest()).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Link({"a", "-o", "out"});
  v1::RelinkRequest relink;
  *relink.mutable_session() = Name("out");
  relink.mutable_changed()->add_inputs()->set_content_id("short");
  EXPECT_EQ(Relink(relink).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  relink.mutable_changed()->mutable_inputs(0)->set_content_id(std::string(32, 'x'));
  EXPECT_EQ(Relink(relink).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "another content";
  relink.clear_changed();
  EXPECT_EQ(Relink(relink).result.outcome(), v1::PATCHED) << "the session is as before";
}

TEST_F(ServiceTest, RefusesOtherVersionsAndOtherFiles) {
  v1::LinkRequest request = Request({"a", "-o", "out"});
  request.set_client_version("2.0");
  EXPECT_EQ(Link(request).refusal.reason(), v1::Refusal::OTHER_VERSION);
  request.set_client_version("1.0");
  struct stat info;
  ASSERT_EQ(stat(folder_.c_str(), &info), 0);
  v1::FileIdentity* folder = request.mutable_working_directory_identity();
  folder->set_device(info.st_dev);
  folder->set_inode(info.st_ino);
  *request.mutable_output_directory_identity() = *folder;
  ASSERT_EQ(stat("/", &info), 0);
  request.mutable_root()->set_device(info.st_dev);
  request.mutable_root()->set_inode(info.st_ino);
  EXPECT_EQ(Link(request).results, 1);
  for (v1::FileIdentity* identity :
       {request.mutable_root(), folder, request.mutable_output_directory_identity()}) {
    identity->set_inode(identity->inode() + 1);
    EXPECT_EQ(Link(request).refusal.reason(), v1::Refusal::OTHER_FILES);
    identity->set_inode(identity->inode() - 1);
  }
  EXPECT_EQ(world_.links.load(), 1);
}

TEST_F(ServiceTest, AnswersBeforeItSettlesAndTheNextWaits) {
  std::string go = folder_ + "/go";
  Answer first = Link({"a", "-o", "out", "--fake-settle=" + go});
  EXPECT_EQ(first.result.exit_status(), 0);
  EXPECT_EQ(world_.settles.load(), 0) << "the answer waited for settling";
  std::thread second([&] { EXPECT_EQ(Link({"a", "-o", "out"}).result.generation(), 2u); });
  EXPECT_EQ(Link({"a", "-o", "other"}).result.generation(), 1u);
  EXPECT_EQ(world_.links.load(), 2);
  Touch("go");
  second.join();
  EXPECT_FALSE(world_.overlapped.load());
}

TEST_F(ServiceTest, CancelledWhileWaitingIsNotLinked) {
  std::string go = folder_ + "/go";
  std::thread first([&] {
    Link({"a", "-o", "out", "--fake-began=" + folder_ + "/began", "--fake-wait=" + go});
  });
  AwaitFile("began");
  grpc::ClientContext context;
  auto reader = stub_->Link(&context, Request({"a", "-o", "out"}));
  while (lifecycle_.running() < 2) std::this_thread::yield();
  context.TryCancel();
  v1::LinkEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The server learns of it a moment later than the client.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  Touch("go");
  first.join();
  EXPECT_EQ(Link({"a", "-o", "out"}).result.generation(), 2u);
  EXPECT_EQ(world_.links.load(), 2);
}

TEST_F(ServiceTest, LargeRequestsPass) {
  std::vector<std::string> args(100000, "./a/../a/../a/../a/../a/../a/../a/../a/../a/../a/../a");
  args.push_back("--nonsense");
  EXPECT_EQ(Link(args).result.exit_status(), 2);
}

TEST_F(ServiceTest, ShutdownWaitsForLinksAndTurnsNewOnesAway) {
  std::string go = folder_ + "/go";
  std::thread running([&] {
    EXPECT_EQ(Link({"a", "-o", "out", "--fake-began=" + folder_ + "/began", "--fake-wait=" + go}).result.exit_status(),
              0);
  });
  AwaitFile("began");
  absl::Notification answered;
  std::thread shutdown([&] {
    grpc::ClientContext context;
    v1::ShutdownResponse response;
    EXPECT_TRUE(stub_->Shutdown(&context, v1::ShutdownRequest(), &response).ok());
    answered.Notify();
  });
  while (!lifecycle_.draining()) std::this_thread::yield();
  lifecycle_.ListenerClosed();
  EXPECT_EQ(Link({"a", "-o", "other"}).refusal.reason(), v1::Refusal::SHUTTING_DOWN);
  EXPECT_FALSE(answered.HasBeenNotified());
  Touch("go");
  answered.WaitForNotification();
  running.join();
  shutdown.join();
}

TEST_F(ServiceTest, StatusVerifyAndClose) {
  Link({"a", "-o", "out"});
  v1::StatusResponse status;
  {
    grpc::ClientContext context;
    v1::StatusRequest request;
    *request.mutable_session() = Name("out");
    request.set_with_inputs(true);
    ASSERT_TRUE(stub_->Status(&context, request, &status).ok());
  }
  ASSERT_EQ(status.sessions_size(), 1);
  EXPECT_EQ(status.sessions(0).output(), folder_ + "/out");
  EXPECT_TRUE(status.sessions(0).hot());
  EXPECT_THAT(status.sessions(0).inputs(), testing::ElementsAre(folder_ + "/a"));
  EXPECT_EQ(status.daemon().version(), "1.0");
  EXPECT_GT(status.anonymous_bytes(), 0u);
  for (bool equivalent : {true, false}) {
    grpc::ClientContext context;
    v1::VerifyRequest request;
    *request.mutable_session() = Name("out");
    v1::VerifyResponse response;
    ASSERT_TRUE(stub_->Verify(&context, request, &response).ok());
    EXPECT_EQ(response.equivalent(), equivalent);
    EXPECT_EQ(response.differences_size(), equivalent ? 0 : 1);
    Touch("out");
  }
  for (bool closed : {true, false}) {
    grpc::ClientContext context;
    v1::CloseSessionRequest request;
    *request.mutable_session() = Name("out");
    v1::CloseSessionResponse response;
    ASSERT_TRUE(stub_->CloseSession(&context, request, &response).ok());
    EXPECT_EQ(response.closed(), closed);
  }
}

TEST(ProgramWatch, NoticesReplacementNotRemoval) {
  char name[] = "/tmp/kitlink-pw-XXXXXX";
  std::string folder = mkdtemp(name);
  std::string path = folder + "/p";
  std::ofstream(path).put('x');
  ProgramWatch watch(path);
  EXPECT_FALSE(watch.Replaced());
  std::ofstream(folder + "/q").put('y');
  ASSERT_EQ(rename((folder + "/q").c_str(), path.c_str()), 0);
  EXPECT_TRUE(watch.Replaced());
  remove(path.c_str());
  EXPECT_FALSE(watch.Replaced());
  EXPECT_EQ(rmdir(folder.c_str()), 0);
}

TEST(CanonicalOutput, OneNamePerFile) {
  char name[] = "/tmp/kitlink-co-XXXXXX";
  std::string folder = mkdtemp(name);
  ASSERT_EQ(symlink(folder.c_str(), (folder + "/link").c_str()), 0);
  EXPECT_EQ(CanonicalOutput(folder, "x").value(), folder + "/x");
  EXPECT_EQ(CanonicalOutput("/", folder + "/link/.//x").value(), folder + "/x");
  EXPECT_EQ(CanonicalOutput("/", "x").value(), "/x");
  EXPECT_EQ(CanonicalOutput(folder, "none/x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CanonicalOutput(folder, "link/").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CanonicalOutput(folder, "..").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(system(("rm -rf " + folder).c_str()), 0);
}

}  // namespace
}  // namespace kitlink::daemon
