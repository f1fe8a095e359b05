#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "cli/commands.h"
#include "cli/show.h"
#include "cli/transfer.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Jobs::Stub;

struct Options {
  Place place;
  std::string directory_id = "stdouterr", path = ".", file_name, destination;
  std::int64_t offset = 0;
};

void set_name(v1::JobName& name, const Place& place) {
  name.set_resource_group(place.group);
  name.set_workspace(place.workspace);
  name.set_experiment(place.experiment);
  name.set_name(place.name);
}

v1::ListJobFilesRequest list_request(const Options& options, const std::string& path) {
  v1::ListJobFilesRequest request;
  set_name(*request.mutable_job(), options.place);
  request.set_output_directory_id(options.directory_id);
  request.set_path(path);
  return request;
}

int list(Program& program, const Options& options) {
  const auto files = program.ask(&Stub::ListJobFiles, list_request(options, options.path));
  return files ? program.print(show_all(files->files())) : program.exit_code();
}

v1::ReadJobFileRequest read_request(const Options& options, const std::string& path, std::uint64_t offset) {
  v1::ReadJobFileRequest request;
  set_name(*request.mutable_job(), options.place);
  request.set_output_directory_id(options.directory_id);
  request.set_path(path);
  request.set_offset(offset);
  return request;
}

std::string path_of_file(const Options& options) {
  return relative_path(options.path + "/" + options.file_name);
}

FileSource files_of(Client& client, const Options& options) {
  FileSource source;
  source.list = [&](const std::string& path) -> Result<std::vector<v1::FileEntry>> {
    const auto listing = client.call(&Stub::ListJobFiles, list_request(options, path));
    if (!listing) return listing.error();
    return std::vector<v1::FileEntry>(listing->files().begin(), listing->files().end());
  };
  source.read = [&](grpc::ClientContext& context, const std::string& path, std::uint64_t offset) {
    Stub stub(client.channel());
    return stub.ReadJobFile(&context, read_request(options, path, offset));
  };
  return source;
}

int download(Program& program, const Options& options) {
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const std::string path = options.file_name.empty() ? options.path : path_of_file(options);
  ProgressLine progress("looking for " + path);
  const auto copies = download(**client, files_of(**client, options), path, options.destination, progress);
  return copies ? program.print(show_copies(*copies)) : program.fail(copies.error());
}

// Where a follower is: in which attempt's file, and at which byte of it.
struct Position {
  std::uint32_t attempt = 0;  // 0: none has written yet
  std::uint64_t first = 0;    // where it began
  std::uint64_t offset = 0;
  bool has_read() const { return offset > first; }
};

void start_over(Position& at) {
  fmt::print(stderr, "trainyard: the job runs again; from here on the new attempt's output\n");
  at.offset = at.first = 0;
}

// Copies one stream's bytes from where `at` is, moving it along.
Status copy(grpc::ClientReader<v1::FileChunk>& reader, Position& at, Patience& patience) {
  v1::FileChunk chunk;
  while (reader.Read(&chunk)) {
    if (chunk.data().empty()) continue;
    if (chunk.offset() == 0 && at.offset > 0) start_over(at);
    if (chunk.offset() != at.offset) {
      return Error{Code::data_loss, fmt::format("the controller sent byte {} where byte {} comes next; start again",
                                                chunk.offset(), at.offset)};
    }
    if (const auto written = write_out(chunk.data()); !written) return written;
    at.offset += chunk.data().size();
    patience.progress();
  }
  return {};
}

// After an interruption: the job may have been requeued meanwhile, and then the file of that name is another one. Its
// old output is moved away while the new attempt prepares, so wait until that is over.
Status find_attempt(Client& client, const Options& options, Position& at) {
  v1::JobName name;
  set_name(name, options.place);
  for (;;) {
    const auto job = client.call(&Stub::GetJob, name);
    if (!job) return job.error();
    const bool moving = job->attempt() > 1 && (job->phase() == "queued" || job->phase() == "preparing");
    const bool known = at.has_read() && at.attempt == 0;  // bytes came before any attempt was seen: the first one's
    if (known) at.attempt = 1;
    if (at.has_read() && job->attempt() > at.attempt) {
      if (moving) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        continue;
      }
      start_over(at);
    }
    if (!moving && job->attempt() > at.attempt) at.attempt = job->attempt();
    return {};
  }
}

// Of a negative --offset: that many bytes before the file's present end; a file that is not there yet has none.
Result<std::uint64_t> first_byte(Client& client, const Options& options) {
  if (options.offset >= 0) return static_cast<std::uint64_t>(options.offset);
  const std::string path = path_of_file(options);
  const auto slash = path.rfind('/');
  const auto listing =
      client.call(&Stub::ListJobFiles, list_request(options, slash == std::string::npos ? "" : path.substr(0, slash)));
  if (!listing && listing.error().code != Code::not_found) return listing.error();
  std::uint64_t size = 0;
  for (const v1::FileEntry& entry : listing ? listing->files() : v1::ListJobFilesResponse().files()) {
    if (entry.name() == last_part(path)) size = entry.size();
  }
  const auto back = static_cast<std::uint64_t>(-(options.offset + 1)) + 1;
  return size - std::min(size, back);
}

// Bytes already written are never asked for again, so a restart of the controller neither drops nor doubles any. A
// stream is opened anew now and then: otherwise a connection whose other end vanished would stay silent for ever.
int stream(Program& program, const Options& options) {
  constexpr std::chrono::seconds kStreamLimit{120};
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto first = first_byte(**client, options);
  if (!first) return program.fail(first.error());
  Patience patience(**client);
  Position at{.attempt = 0, .first = *first, .offset = *first};
  v1::ReadJobFileRequest request = read_request(options, path_of_file(options), 0);
  request.set_follow(true);
  for (;;) {
    if (const auto found = find_attempt(**client, options, at); !found) return program.fail(found.error());
    const auto begun = Patience::Clock::now();
    Stub stub((*client)->channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kStreamLimit);
    request.set_offset(at.offset);
    const auto reader = stub.ReadJobFile(&context, request);
    if (const auto copied = copy(*reader, at, patience); !copied) {
      context.TryCancel();
      return program.fail(copied.error());
    }
    const grpc::Status status = reader->Finish();
    if (status.ok()) return kDone;
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      (*client)->reconnect();
    } else if (!patience.again(status, begun)) {
      return program.fail((*client)->error_of(status));
    }
  }
}

}  // namespace

void add_job_file_commands(CLI::App& job, Program& program) {
  CLI::App& files = program.group(job, "file", "Files of a job: logs and outputs");
  auto options = std::make_shared<Options>();
  const auto add_place = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    add_workspace_flag(command, options->place.workspace);
    add_experiment_flag(command, options->place.experiment);
    command.add_option("-j,--job,-n,--name", options->place.name, "Name of the job")->required();
    command.add_option("-d,--output-directory-id", options->directory_id,
                       "stdouterr (default), or an id of the job's outputDirectories");
    command.add_option("-p,--path", options->path, "Directory below it [.]");
    program.refuse_flags(command, {"--expiry"});
  };
  add_place(program.command(files, "list", "List a job's files",
                            "trainyard job file list -g mygroup -w batchaidev -e cifar -j cifar_1 -o table",
                            [=, &program] { return list(program, *options); }));
  CLI::App& streaming =
      program.command(files, "stream", "Write a file of a job to standard output, as it grows, until the job has ended",
                      "trainyard job file stream -g mygroup -w batchaidev -e cifar -j cifar_1 -f stdout.txt",
                      [=, &program] { return stream(program, *options); });
  add_place(streaming);
  streaming.add_option("-f,--file-name", options->file_name, "File to follow, e.g. stdout.txt")->required();
  streaming.add_option("--offset", options->offset,
                       "First byte to write; -N: N bytes before the file's present end [0]");
  CLI::App& downloading =
      program.command(files, "download", "Copy a file or a whole directory of a job to here; goes on where it stopped",
                      "trainyard job file download -g mygroup -w batchaidev -e cifar -j cifar_1 --dest logs\n"
                      "  trainyard job file download -g mygroup -w batchaidev -e cifar -j cifar_1 -d MODEL -f model.h5",
                      [=, &program] { return download(program, *options); });
  add_place(downloading);
  downloading.add_option("-f,--file-name", options->file_name, "One file [all of the directory]");
  downloading.add_option("--dest,--destination", options->destination,
                         "File or directory here [the file's name, or the present directory]");
}

}  // namespace trainyard::cli
