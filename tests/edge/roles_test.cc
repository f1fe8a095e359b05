#include <grpcpp/generic/generic_stub.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "controller/edge/identity.h"
#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

// An operator's CA with the certificates of a controller, a user and a node; and another CA's user.
class Certificates {
 public:
  Certificates() {
    char pattern[] = "/tmp/trainyard-certs-XXXXXX";
    x_dir = mkdtemp(pattern);
    authority("ca");
    authority("strangers");
    sign("server", "ca", "subjectAltName=IP:127.0.0.1");
    sign("alice", "ca", "subjectAltName=URI:spiffe://trainyard/user/alice");
    sign("node1", "ca", "subjectAltName=URI:spiffe://trainyard/node/node1");
    sign("both", "ca", "subjectAltName=URI:spiffe://trainyard/node/node1,URI:spiffe://trainyard/user/alice");
    sign("mallory", "strangers", "subjectAltName=URI:spiffe://trainyard/user/alice");
  }
  ~Certificates() { std::filesystem::remove_all(x_dir); }
  std::string file(const std::string& name) const { return x_dir + "/" + name; }
  std::string text(const std::string& name) const {
    std::ifstream in(file(name));
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::shared_ptr<grpc::Channel> channel(const std::string& address, const std::string& who) const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = text("ca.crt");
    if (!who.empty()) {
      options.pem_cert_chain = text(who + ".crt");
      options.pem_private_key = text(who + ".key");
    }
    return grpc::CreateChannel(address, grpc::SslCredentials(options));
  }

 private:
  void shell(const std::string& command) const {
    REQUIRE(std::system(("cd " + x_dir + " && " + command + " >/dev/null 2>&1").c_str()) == 0);
  }
  void authority(const std::string& name) const {
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" + name +
          " -keyout " + name + ".key -out " + name + ".crt");
  }
  void sign(const std::string& name, const std::string& authority, const std::string& extension) const {
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name + " -keyout " + name +
          ".key -out " + name + ".csr");
    std::ofstream(file(name + ".ext")) << extension << "\n";
    shell("openssl x509 -req -in " + name + ".csr -CA " + authority + ".crt -CAkey " + authority +
          ".key -CAcreateserial -days 2 -extfile " + name + ".ext -out " + name + ".crt");
  }
  std::string x_dir;
};

Config tls_config(const Certificates& certificates) {
  Config config = lab_config();
  config.tls = TlsFiles{certificates.file("server.crt"), certificates.file("server.key"), certificates.file("ca.crt")};
  return config;
}

// Calls any method with an empty message and nothing after it.
grpc::Status call_empty(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  const auto stream = stub.PrepareCall(&context, method, &queue);
  void* tag = nullptr;
  bool ok = false;
  stream->StartCall(reinterpret_cast<void*>(1));
  queue.Next(&tag, &ok);
  if (ok) {
    const grpc::Slice empty("");
    stream->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), reinterpret_cast<void*>(2));
    queue.Next(&tag, &ok);
  }
  grpc::ByteBuffer answer;  // the status comes only after it
  stream->Read(&answer, reinterpret_cast<void*>(4));
  queue.Next(&tag, &ok);
  grpc::Status status;
  stream->Finish(&status, reinterpret_cast<void*>(3));
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return status;
}

}  // namespace

TEST_CASE("every method has a role, and only the certificates for it may call") {
  const Certificates certificates;
  Controller controller(tls_config(certificates));
  const std::string address = controller.server->address();
  const auto alice = certificates.channel(address, "alice"), node = certificates.channel(address, "node1"),
             both = certificates.channel(address, "both");
  const auto denied = [](const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  };
  int methods = 0;
  for (const auto& [method, role] : declared_roles()) {
    INFO(method);
    CHECK(role != v1::ROLE_UNSPECIFIED);
    CHECK(denied(call_empty(both, method)));
    if (role == v1::ROLE_AGENT) {
      CHECK(denied(call_empty(alice, method)));
    } else {
      CHECK(denied(call_empty(node, method)));
      // Server streams of health and reflection would wait for more: unary and short ones are enough here.
      if (method.find("Watch") == method.npos && method.find("grpc.reflection") == method.npos) {
        CHECK_FALSE(denied(call_empty(alice, method)));
      }
    }
    ++methods;
  }
  CHECK(methods > 30);
  CHECK(call_empty(certificates.channel(address, ""), "/trainyard.v1.Groups/ListGroups").error_code() ==
        grpc::StatusCode::UNAVAILABLE);
  CHECK(call_empty(certificates.channel(address, "mallory"), "/trainyard.v1.Groups/ListGroups").error_code() ==
        grpc::StatusCode::UNAVAILABLE);
  CHECK(call_empty(controller.channel(), "/trainyard.v1.Groups/ListGroups").error_code() ==
        grpc::StatusCode::UNAVAILABLE);
  CHECK(call_empty(alice, "/trainyard.v1.Groups/ListGroups").ok());
  CHECK(call_empty(alice, "/trainyard.v1.Groups/Nothing").error_code() == grpc::StatusCode::UNIMPLEMENTED);
}

TEST_CASE("a node's certificate speaks for that node only, and a user's name is kept") {
  const Certificates certificates;
  Controller controller(tls_config(certificates));
  const auto channel = certificates.channel(controller.server->address(), "node1");
  FakeAgent right(channel, "node1", "10.0.0.1");
  CHECK(eventually([&] { return right.acknowledged() > 0; }));
  FakeAgent wrong(channel, "node2", "10.0.0.2");
  CHECK(wrong.status().error_code() == grpc::StatusCode::PERMISSION_DENIED);
  CHECK(wrong.refused().find("node \"node1\"") != std::string::npos);

  User alice(certificates.channel(controller.server->address(), "alice"));
  REQUIRE(alice.make_home());
  v1::Cluster cluster;
  REQUIRE(alice.make_cluster(1, cluster).ok());
  v1::Job job;
  REQUIRE(alice.submit(User::job_request("j", 1), job).ok());
  v1::JobTimeline timeline;
  REQUIRE(User::call(alice.jobs, &v1::Jobs::Stub::GetJobTimeline, User::job_name("j"), timeline).ok());
  REQUIRE(timeline.lines_size() > 0);
  CHECK(timeline.lines(0).who() == "alice");
}
