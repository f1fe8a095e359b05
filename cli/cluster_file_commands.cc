#include <fmt/format.h>

#include <thread>

#include "cli/commands.h"
#include "cli/show.h"
#include "cli/transfer.h"
#include "trainyard/v1/clusters.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Clusters::Stub;

struct Options {
  Place place;
  std::string path = ".", file_name;
};

template <class Request>
Request request_for(const Options& options, const std::string& path) {
  Request request;
  request.set_resource_group(options.place.group);
  request.set_workspace(options.place.workspace);
  request.set_name(options.place.name);
  request.set_path(path);
  return request;
}

int list(Program& program, const Options& options) {
  const auto files =
      program.ask(&Stub::ListClusterFiles, request_for<v1::ListClusterFilesRequest>(options, options.path));
  return files ? program.print(show_all(files->files())) : program.exit_code();
}

// Copies what there is from `offset` on.
grpc::Status copy(Client& client, v1::ReadClusterFileRequest request, std::uint64_t& offset, Status& written) {
  request.set_offset(offset);
  Stub stub(client.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto reader = stub.ReadClusterFile(&context, request);
  v1::FileChunk chunk;
  while (written && reader->Read(&chunk)) {
    written = write_out(chunk.data());
    offset += chunk.data().size();
  }
  if (!written) context.TryCancel();
  return reader->Finish();
}

// Goes on while a node of the cluster is being set up: then the file may still come, or grow.
int stream(Program& program, const Options& options) {
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto read =
      request_for<v1::ReadClusterFileRequest>(options, relative_path(options.path + "/" + options.file_name));
  v1::GetClusterRequest ask;
  ask.set_resource_group(options.place.group);
  ask.set_workspace(options.place.workspace);
  ask.set_name(options.place.name);
  Patience patience(**client);
  std::uint64_t offset = 0;
  for (;;) {
    // Asked before the read: when nothing was being set up then, what is read next is all there is.
    const auto cluster = (*client)->call(&Stub::GetCluster, ask);
    if (!cluster) return program.fail(cluster.error());
    const bool last = cluster->node_state_counts().preparing_node_count() == 0;
    const std::uint64_t before = offset;
    const auto begun = Patience::Clock::now();
    Status written;
    const grpc::Status status = copy(**client, read, offset, written);
    if (!written) return program.fail(written.error());
    if (offset > before) patience.progress();
    const bool not_there = status.error_code() == grpc::StatusCode::NOT_FOUND;
    if (status.ok() || not_there) {
      if (last) return status.ok() ? static_cast<int>(kDone) : program.fail((*client)->error_of(status));
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    } else if (!patience.again(status, begun)) {
      return program.fail((*client)->error_of(status));
    }
  }
}

}  // namespace

void add_cluster_file_commands(CLI::App& cluster, Program& program) {
  CLI::App& files = program.group(cluster, "file", "Files of a cluster's set-up task: its output on each node");
  auto options = std::make_shared<Options>();
  const auto add_place = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    add_workspace_flag(command, options->place.workspace);
    command.add_option("-c,--cluster,-n,--name", options->place.name, "Name of the cluster")->required();
    command.add_option("-p,--path", options->path, "Directory below the task's output directory [.]");
    program.refuse_flags(command, {"--expiry"});
  };
  add_place(program.command(files, "list", "List the files of a cluster's set-up task",
                            "trainyard cluster file list -g mygroup -w batchaidev -c nc6cluster -o table",
                            [=, &program] { return list(program, *options); }));
  CLI::App& streaming = program.command(
      files, "stream", "Write a file of the set-up task to standard output, as it grows, while nodes are set up",
      "trainyard cluster file stream -g mygroup -w batchaidev -c nc6cluster -f stdout-n1.txt",
      [=, &program] { return stream(program, *options); });
  add_place(streaming);
  streaming.add_option("-f,--file-name", options->file_name, "File to read, e.g. stdout-n1.txt")->required();
}

}  // namespace trainyard::cli
