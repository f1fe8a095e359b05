// Downloads of files and directories against a scripted stand-in for the controller that breaks every stream; and the
// flags of port forwarding.
#include "cli/transfer.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "cli/port_forward.h"
#include "cli/share_files.h"
#include "trainyard/v1/jobs.grpc.pb.h"
#include "trainyard/v1/volumes.grpc.pb.h"

using namespace trainyard;
using namespace trainyard::cli;
namespace fs = std::filesystem;

namespace {

// Sends at most five bytes per call, then breaks, as a controller that is killed again and again would.
class FlakyJobs : public v1::Jobs::Service {
 public:
  std::map<std::string, std::string> files{
      {"a.txt", "0123456789"}, {"deep/er/b.bin", std::string(23, '\0')}, {"deep/empty", ""}};
  std::vector<std::uint64_t> asked;

  grpc::Status ListJobFiles(grpc::ServerContext*, const v1::ListJobFilesRequest* request,
                            v1::ListJobFilesResponse* response) override {
    const std::string below = request->path().empty() ? "" : request->path() + "/";
    std::map<std::string, v1::FileEntry> entries;
    for (const auto& [path, data] : files) {
      if (!path.starts_with(below)) continue;
      const std::string rest = path.substr(below.size());
      v1::FileEntry& entry = entries[rest.substr(0, rest.find('/'))];
      entry.set_name(rest.substr(0, rest.find('/')));
      entry.set_is_directory(rest.find('/') != std::string::npos);
      entry.set_size(entry.is_directory() ? 0 : data.size());
      entry.mutable_modified()->set_seconds(1'700'000'000);
      entry.mutable_modified()->set_nanos(123'000'000);
    }
    for (const auto& [name, entry] : entries) *response->add_files() = entry;
    return grpc::Status::OK;
  }
  grpc::Status ReadJobFile(grpc::ServerContext*, const v1::ReadJobFileRequest* request,
                           grpc::ServerWriter<v1::FileChunk>* writer) override {
    asked.push_back(request->offset());
    const std::string& data = files.at(request->path());
    v1::FileChunk chunk;
    chunk.set_offset(request->offset());
    chunk.set_data(data.substr(request->offset(), 5));
    writer->Write(chunk);
    const bool all = request->offset() + chunk.data().size() >= data.size();
    return all ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  }
};

// Takes an upload, but breaks the first `breaks` tries after their first piece.
class FlakyVolumes : public v1::Volumes::Service {
 public:
  int breaks = 0, tries = 0;
  std::string whole;  // what came with the try that was not broken
  std::uint64_t promised = 0;

  grpc::Status UploadFile(grpc::ServerContext*, grpc::ServerReader<v1::UploadFileRequest>* reader,
                          v1::UploadFileResponse* response) override {
    ++tries;
    v1::UploadFileRequest part;
    reader->Read(&part);
    promised = part.size();
    std::string bytes;
    while (reader->Read(&part)) {
      bytes += part.data();
      if (tries <= breaks) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
    }
    whole = bytes;
    response->set_size(bytes.size());
    return grpc::Status::OK;
  }
};

struct Bench {
  Bench() {
    char name[] = "/tmp/trainyard-transfer-XXXXXX";
    folder = mkdtemp(name);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&jobs);
    builder.RegisterService(&volumes);
    server = builder.BuildAndStart();
    client = std::move(Client::open({.controller = "127.0.0.1:" + std::to_string(port), .retry_for_s = 3})).value();
    source.list = [this](const std::string& path) -> Result<std::vector<v1::FileEntry>> {
      v1::ListJobFilesRequest request;
      request.set_path(path);
      const auto listing = client->call(&v1::Jobs::Stub::ListJobFiles, request);
      if (!listing) return listing.error();
      return std::vector<v1::FileEntry>(listing->files().begin(), listing->files().end());
    };
    source.read = [this](grpc::ClientContext& context, const std::string& path, std::uint64_t offset) {
      v1::ReadJobFileRequest request;
      request.set_path(path);
      request.set_offset(offset);
      return v1::Jobs::Stub(client->channel()).ReadJobFile(&context, request);
    };
  }
  ~Bench() { fs::remove_all(folder); }
  std::string at(const std::string& name) const { return folder + "/" + name; }
  std::string content(const std::string& name) const {
    std::ifstream file(at(name), std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::size_t entries() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
    return count;
  }

  FlakyJobs jobs;
  FlakyVolumes volumes;
  std::string folder;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<Client> client;
  FileSource source;
  ProgressLine quiet{"", false};
};

}  // namespace

TEST_CASE("a directory comes whole over broken streams, and what is here is not copied again") {
  Bench bench;
  const auto copies = download(*bench.client, bench.source, ".", bench.folder, bench.quiet);
  REQUIRE(copies);
  CHECK(copies->of_directory);
  CHECK(copies->files.size() == 3);
  for (const auto& [name, data] : bench.jobs.files) CHECK(bench.content(name) == data);
  const std::size_t asked = bench.jobs.asked.size();
  CHECK(asked == 7);
  REQUIRE(download(*bench.client, bench.source, ".", bench.folder, bench.quiet));
  CHECK(bench.jobs.asked.size() == asked);
  // A newer version is another file.
  bench.jobs.files["a.txt"] = "newer";
  REQUIRE(download(*bench.client, bench.source, "./a.txt", bench.folder, bench.quiet));
  CHECK(bench.content("a.txt") == "newer");
}

TEST_CASE("a copy that was cut off goes on where it stopped; parts of older versions go") {
  Bench bench;
  std::ofstream(bench.at(".a.txt.10-1700000000123.part")) << "0123456";
  std::ofstream(bench.at(".a.txt.11-1600000000000.part")) << "of a version that is no more";
  std::ofstream(bench.at(".a.txt.mine.part")) << "not ours";
  const auto copies = download(*bench.client, bench.source, "a.txt", bench.folder + "/", bench.quiet);
  REQUIRE(copies);
  CHECK_FALSE(copies->of_directory);
  CHECK(copies->files.at(0).destination == bench.at("a.txt"));
  CHECK(bench.jobs.asked == std::vector<std::uint64_t>{7});
  CHECK(bench.content("a.txt") == "0123456789");
  CHECK(bench.entries() == 2);
  REQUIRE(download(*bench.client, bench.source, "a.txt", bench.at("renamed"), bench.quiet));
  CHECK(bench.content("renamed") == "0123456789");
}

TEST_CASE("an upload that broke begins anew and comes whole; tries that get no further come to an end") {
  Bench bench;
  ShareFiles share(*bench.client, "a", "s");
  std::string content;
  for (int i = 0; content.size() < 2'000'000; ++i) content += std::to_string(i) + " ";
  std::ofstream(bench.at("big")) << content;
  bench.volumes.breaks = 2;
  const auto size = share.upload(bench.at("big"), "up/big", bench.quiet);
  REQUIRE(size);
  CHECK(*size == content.size());
  CHECK(bench.volumes.tries == 3);
  CHECK(bench.volumes.promised == content.size());
  CHECK(bench.volumes.whole == content);
  bench.volumes.breaks = 1'000'000;
  const auto never = share.upload(bench.at("big"), "up/big", bench.quiet);
  REQUIRE_FALSE(never);
  CHECK(never.error().code == Code::internal);
  CHECK_THAT(share.upload(bench.at("none"), "up/none", bench.quiet).error().message,
             Catch::Contains("none: cannot be read"));
}

TEST_CASE("what does not exist, and names that are none, are refused") {
  Bench bench;
  const auto missing = download(*bench.client, bench.source, "deep/none", bench.folder, bench.quiet);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Code::not_found);
  CHECK_THAT(missing.error().message, Catch::Contains("deep/none"));
  FileSource hostile = bench.source;
  hostile.list = [](const std::string&) -> Result<std::vector<v1::FileEntry>> {
    v1::FileEntry entry;
    entry.set_name("../outside");
    return std::vector<v1::FileEntry>{entry};
  };
  CHECK(download(*bench.client, hostile, ".", bench.folder, bench.quiet).error().code == Code::data_loss);
}

TEST_CASE("-L has a local port, a host and a port") {
  const auto plain = parse_forward("6006:localhost:6007");
  REQUIRE(plain);
  CHECK(plain->local == 6006);
  CHECK(plain->host == "localhost");
  CHECK(plain->port == 6007);
  CHECK(parse_forward("0:[::1]:80")->host == "::1");
  for (const char* text : {"", "6006", "6006:6007", "6006::6007", "x:localhost:1", "1:localhost:x", "1:localhost:0",
                           "65536:localhost:1", "1:localhost:65536", ":localhost:1", "1:localhost:"}) {
    INFO(text);
    CHECK_FALSE(parse_forward(text));
  }
}
