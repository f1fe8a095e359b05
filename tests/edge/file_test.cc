#include <catch2/catch.hpp>

#include "controller/edge/job_files.h"
#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

v1::SharePath at(const std::string& path) {
  v1::SharePath out;
  out.set_account("a");
  out.set_share("s");
  out.set_path(path);
  return out;
}

grpc::Status upload(User& user, const std::string& path, const std::string& bytes, std::uint64_t promised) {
  grpc::ClientContext context;
  v1::UploadFileResponse response;
  const auto stream = user.volumes->UploadFile(&context, &response);
  v1::UploadFileRequest part;
  *part.mutable_target() = at(path);
  part.set_size(promised);
  stream->Write(part);
  for (std::size_t sent = 0; sent < bytes.size(); sent += 200'000) {
    part.set_data(bytes.substr(sent, 200'000));
    if (!stream->Write(part)) break;
  }
  stream->WritesDone();
  return stream->Finish();
}

grpc::Status download(User& user, const std::string& path, std::string& bytes) {
  grpc::ClientContext context;
  v1::DownloadFileRequest request;
  *request.mutable_file() = at(path);
  const auto stream = user.volumes->DownloadFile(&context, request);
  v1::FileChunk chunk;
  while (stream->Read(&chunk)) {
    if (chunk.offset() != bytes.size()) return {grpc::StatusCode::INTERNAL, "a hole"};
    bytes += chunk.data();
  }
  return stream->Finish();
}

}  // namespace

TEST_CASE("files of a share go through an agent, byte for byte") {
  Controller controller;
  Disk disk;
  User user(controller.channel());
  REQUIRE(user.make_home());
  std::string bytes;
  const auto nobody = download(user, "x", bytes);
  CHECK(nobody.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(nobody.error_message().find("no reachable node") != std::string::npos);

  FakeAgent agent(controller.channel(), "node1", "10.0.0.1", &disk);
  REQUIRE(eventually([&] { return agent.acknowledged() > 0; }));
  std::string big;
  for (int i = 0; big.size() < 3'000'000; ++i) big += std::to_string(i) + "\n";
  REQUIRE(upload(user, "dir/big.txt", big, big.size()).ok());
  CHECK(disk.files.at("/srv/a/s/dir/big.txt") == big);
  REQUIRE(download(user, "dir/big.txt", bytes).ok());
  CHECK(bytes == big);
  CHECK(download(user, "missing", bytes).error_code() == grpc::StatusCode::NOT_FOUND);
  CHECK(download(user, "../etc/passwd", bytes).error_code() == grpc::StatusCode::INVALID_ARGUMENT);

  v1::ListFilesRequest list;
  *list.mutable_directory() = at("dir");
  v1::ListFilesResponse files;
  REQUIRE(User::call(user.volumes, &v1::Volumes::Stub::ListFiles, list, files).ok());
  REQUIRE(files.files_size() == 1);
  CHECK(files.files(0).name() == "big.txt");
  v1::CreateDirectoryRequest make;
  *make.mutable_directory() = at("new");
  v1::CreateDirectoryResponse made;
  REQUIRE(User::call(user.volumes, &v1::Volumes::Stub::CreateDirectory, make, made).ok());
  CHECK(made.created());
}

TEST_CASE("an upload that ends short makes no file") {
  Controller controller;
  Disk disk;
  User user(controller.channel());
  REQUIRE(user.make_home());
  FakeAgent agent(controller.channel(), "node1", "10.0.0.1", &disk);
  REQUIRE(eventually([&] { return agent.acknowledged() > 0; }));
  CHECK(upload(user, "half", "abc", 6).error_code() == grpc::StatusCode::ABORTED);
  {
    grpc::ClientContext context;
    v1::UploadFileResponse response;
    const auto stream = user.volumes->UploadFile(&context, &response);
    v1::UploadFileRequest part;
    *part.mutable_target() = at("cancelled");
    stream->Write(part);
    part.set_data("abc");
    stream->Write(part);
    REQUIRE(eventually([&] {
      const std::lock_guard lock(disk.mutex);
      return disk.served >= 2;
    }));
    context.TryCancel();
    CHECK_FALSE(stream->Finish().ok());
  }
  CHECK(upload(user, "whole", "abcdef", 6).ok());
  CHECK(disk.files.size() == 1);
}

namespace {

// A home with an agent, and `count` files in share s.
struct ShareOnDisk {
  explicit ShareOnDisk(int count)
      : user(controller.channel()), agent(controller.channel(), "node1", "10.0.0.1", &disk) {
    REQUIRE(user.make_home());
    REQUIRE(eventually([&] { return agent.acknowledged() > 0; }));
    for (int i = 0; i < count; ++i) disk.files["/srv/a/s/dir/" + std::to_string(i)] = "x";
    disk.files["/srv/a/s2/kept"] = "x";
  }
  std::size_t files() {
    const std::lock_guard lock(disk.mutex);
    return disk.files.size() - disk.files.count("/srv/a/s2/kept");
  }
  int served() {
    const std::lock_guard lock(disk.mutex);
    return disk.served;
  }
  void set(bool Disk::*flag, bool value) {
    const std::lock_guard lock(disk.mutex);
    disk.*flag = value;
  }
  grpc::Status remove(const std::string& request_id = "") {
    v1::DeleteShareRequest request;
    request.set_request_id(request_id);
    request.set_account("A");
    request.set_name("S");
    v1::DeleteShareResponse response;
    return User::call(user.volumes, &v1::Volumes::Stub::DeleteShare, request, response);
  }
  std::string state() {
    v1::ListSharesRequest request;
    request.set_account("a");
    v1::ListSharesResponse response;
    REQUIRE(User::call(user.volumes, &v1::Volumes::Stub::ListShares, request, response).ok());
    return response.shares_size() == 0 ? "gone" : response.shares(0).provisioning_state();
  }

  Controller controller;
  Disk disk;
  User user;
  FakeAgent agent;
};

}  // namespace

TEST_CASE("a share's files are removed piece by piece, then it is gone; the same request again changes nothing") {
  ShareOnDisk share(10);
  share.disk.removes_at_once = 3;
  REQUIRE(share.remove("once").ok());
  CHECK(share.served() == 4);
  CHECK(share.files() == 0);
  CHECK(share.disk.files.contains("/srv/a/s2/kept"));
  CHECK(share.state() == "gone");
  // Made anew meanwhile: the repeated request is of the old one.
  v1::CreateShareRequest create;
  create.set_account("a");
  create.set_name("s");
  v1::Share made;
  REQUIRE(User::call(share.user.volumes, &v1::Volumes::Stub::CreateShare, create, made).ok());
  REQUIRE(upload(share.user, "new", "abc", 3).ok());
  CHECK(share.remove("once").ok());
  CHECK(share.files() == 1);
  CHECK(share.state() == "succeeded");
  CHECK(share.remove("other").ok());
  CHECK(share.remove("third").error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("a delete that was broken off leaves a share that nothing can use, and the next one goes on") {
  ShareOnDisk share(10);
  share.disk.complaint = "something is mounted at /srv/a/s/x";
  const grpc::Status refused = share.remove();
  CHECK(refused.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK_THAT(refused.error_message(),
             Catch::Contains("something is mounted at /srv/a/s/x") && Catch::Contains("delete it again to go on"));
  CHECK(share.state() == "deleting");
  CHECK(share.files() == 10);
  CHECK(upload(share.user, "x", "abc", 3).error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  std::string bytes;
  CHECK_THAT(download(share.user, "dir/1", bytes).error_message(), Catch::Contains("is being deleted"));
  v1::Cluster cluster;
  REQUIRE(share.user.make_cluster(1, cluster).ok());
  v1::Job job;
  const grpc::Status submitted = share.user.submit(User::job_request("j", 1), job);
  CHECK(submitted.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK_THAT(submitted.error_message(), Catch::Contains("share s of storage account a is being deleted"));
  share.disk.complaint.clear();
  share.agent.stop();
  CHECK(share.remove().error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(share.state() == "deleting");
  FakeAgent again(share.controller.channel(), "node2", "10.0.0.2", &share.disk);
  REQUIRE(eventually([&] { return again.acknowledged() > 0; }));
  CHECK(share.remove().ok());
  CHECK(share.state() == "gone");
  CHECK(share.files() == 0);
}

TEST_CASE("while a job has not ended its share stays as it is") {
  ShareOnDisk share(3);
  v1::Cluster cluster;
  REQUIRE(share.user.make_cluster(0, cluster).ok());
  v1::Job job;
  REQUIRE(share.user.submit(User::job_request("j", 1), job).ok());
  const grpc::Status refused = share.remove();
  CHECK(refused.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK_THAT(refused.error_message(), Catch::Contains("is mounted by job g/w/e/j"));
  CHECK(share.files() == 3);
  CHECK(share.state() == "succeeded");
}

TEST_CASE("one delete of a share at a time; one whose user went away stops") {
  ShareOnDisk share(5000);
  share.disk.removes_at_once = 1;
  share.disk.holds_deletes = true;
  grpc::ClientContext context;
  std::thread first([&] {
    v1::DeleteShareRequest request;
    request.set_account("a");
    request.set_name("s");
    v1::DeleteShareResponse response;
    CHECK(share.user.volumes->DeleteShare(&context, request, &response).error_code() == grpc::StatusCode::CANCELLED);
  });
  REQUIRE(eventually([&] { return share.served() > 0; }));
  const grpc::Status second = share.remove();
  CHECK(second.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK_THAT(second.error_message(), Catch::Contains("by another call"));
  context.TryCancel();
  first.join();
  share.set(&Disk::holds_deletes, false);
  {
    const std::lock_guard lock(share.disk.mutex);
    share.disk.removes_at_once = 1000;
  }
  // Refused only until the first has noticed; were it still at it, it would be refused to the end.
  REQUIRE(eventually([&] { return share.remove().ok(); }));
  CHECK(share.state() == "gone");
}

TEST_CASE("a followed file comes live, outlives its reader and ends with the job") {
  Controller controller;
  Disk disk;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  std::optional<FakeAgent> node(std::in_place, controller.channel(), "node1", "10.0.0.1", &disk);
  REQUIRE(eventually([&] { return user.cluster().allocation_state() == "steady"; }));
  v1::Job job;
  REQUIRE(user.submit(User::job_request("j", 1), job).ok());
  REQUIRE(eventually([&] { return user.job("j").phase() == "running"; }));
  const std::string path = "/srv/a/s/logs/" + job.job_output_directory_path_segment() + "/stdouterr/stdout.txt";

  v1::ReadJobFileRequest request;
  *request.mutable_job() = User::job_name("j");
  request.set_path("stdout.txt");
  request.set_follow(true);
  grpc::ClientContext context;
  const auto stream = user.jobs->ReadJobFile(&context, request);
  v1::FileChunk chunk;
  std::string seen;
  {
    const std::lock_guard lock(disk.mutex);
    disk.files[path] = "one\n";
  }
  REQUIRE(stream->Read(&chunk));
  seen += chunk.data();

  // The agent is killed and comes back: the same life (it keeps its spool), a new stream.
  node.reset();
  node.emplace(controller.channel(), "node1", "10.0.0.1", &disk);
  {
    const std::lock_guard lock(disk.mutex);
    disk.files[path] += "two\n";
  }
  REQUIRE(stream->Read(&chunk));
  CHECK(chunk.offset() == 4);
  seen += chunk.data();
  REQUIRE(eventually([&] { return node->revision() > 0; }));
  {
    const std::lock_guard lock(disk.mutex);
    disk.files[path] += "end\n";
  }
  node->let_heads_exit(0);
  while (stream->Read(&chunk)) seen += chunk.data();
  CHECK(stream->Finish().ok());
  CHECK(seen == "one\ntwo\nend\n");
  CHECK(user.job("j").execution_state() == "succeeded");

  v1::ListJobFilesRequest list;
  *list.mutable_job() = User::job_name("j");
  v1::ListJobFilesResponse files;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::ListJobFiles, list, files).ok());
  REQUIRE(files.files_size() == 1);
  CHECK(files.files(0).name() == "stdout.txt");
  list.set_output_directory_id("NOPE");
  CHECK(User::call(user.jobs, &v1::Jobs::Stub::ListJobFiles, list, files).error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("the files of a set-up task are found on the cluster's volumes, or said to be elsewhere") {
  core::Cluster cluster;
  cluster.name = "nc6";
  cluster.setup_path_suffix = "trainyard/g/workspaces/w/clusters/nc6/uuid";
  CHECK(setup_directory(cluster).error().message == "cluster nc6 has no set-up task, and so no files of one");
  cluster.spec.node_setup.task = {"install", {{"WHERE", "logs"}}, "$AZ_BATCHAI_MOUNT_ROOT/ext/$WHERE", 1};
  cluster.volumes = {{Volume::Kind::local, "/srv/s", "ext"}};
  CHECK(setup_directory(cluster)->volume.source == "/srv/s");
  CHECK(setup_directory(cluster)->path == "logs/" + cluster.setup_path_suffix);
  cluster.spec.node_setup.task.std_out_err_path_prefix = "/var/log/setup";
  CHECK(setup_directory(cluster).error().message ==
        "the directory \"/var/log/setup\" of cluster nc6 is not on one of its shares, so its files cannot be read from "
        "here: use a path under $AZ_BATCHAI_MOUNT_ROOT/<relativeMountPath>");
}

TEST_CASE("files of a job that are on no share are said to be so") {
  core::Job job;
  auto spec = std::make_shared<JobSpec>();
  spec->std_out_err_path_prefix = "${AZ_BATCHAI_JOB_MOUNT_ROOT}/a/b//c/$NAME$UNDEFINED";
  spec->environment = {{"NAME", "n"}};
  spec->output_directories = {{"TEMP", "$AZ_BATCHAI_JOB_TEMP_DIR/x", ""},
                              {"UP", "$AZ_BATCHAI_JOB_MOUNT_ROOT/a/b/../..", ""},
                              {"CLUSTER", "$AZ_BATCHAI_MOUNT_ROOT/ext/models", "x"}};
  job.spec = spec;
  job.segment = "seg";
  job.volumes = {{Volume::Kind::local, "/srv/s", "a/b"}};
  core::Cluster cluster;
  cluster.volumes = {{Volume::Kind::local, "/srv/ext", "ext"}};
  const auto place = job_directory(job, &cluster, "stdouterr");
  REQUIRE(place.ok());
  CHECK(place->path == "c/n/seg/stdouterr");
  CHECK(place->volume.source == "/srv/s");
  CHECK(job_directory(job, &cluster, "TEMP").error().code == Code::failed_precondition);
  CHECK(job_directory(job, &cluster, "UP").error().code == Code::failed_precondition);
  CHECK(job_directory(job, &cluster, "CLUSTER")->volume.source == "/srv/ext");
  CHECK(job_directory(job, &cluster, "CLUSTER")->path == "models/seg/outputs/x");
  CHECK(job_directory(job, nullptr, "CLUSTER").error().code == Code::failed_precondition);
}
