// The users' sides of file calls: short operations, reading (also following a running job) and writing. Each lives
// until its call has ended; all work is on the bridge's strand.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include "controller/edge/file_bridge.h"
#include "controller/edge/job_files.h"
#include "controller/edge/job_watch.h"
#include "trainyard/v1/jobs.pb.h"
#include "trainyard/v1/volumes.pb.h"

namespace trainyard::controller {

// Finds what a call is about in the state, on the loop's thread.
using FindTarget = std::function<Result<FileTarget>(const core::State& state)>;

// List, make or delete: one operation, one answer.
grpc::ServerUnaryReactor* start_file_operation(
    FileBridge& bridge, grpc::CallbackServerContext* context, FindTarget find,
    std::function<grpc::Status(const Result<v1::FileDone>& done, const v1::FileListing& listing)> answer);

void add_files(const v1::FileListing& listing, google::protobuf::RepeatedPtrField<v1::FileEntry>& files);

// An operation on `path` below a directory of a volume.
FileTarget target_below(const FilePlace& place, const std::string& path, v1::FileOperation::Kind kind);

// The user's key for the volume, if there is one among these.
void add_credential(const std::vector<SealedValue>& credentials, const Volume& volume, const std::string& workspace,
                    FileTarget& target);

// Finds a directory of which nothing may be there yet, and what of it a call is about: `path` is clean.
using FindBelow =
    std::function<Result<FileTarget>(const core::State& state, const std::string& path, v1::FileOperation::Kind kind)>;

// What is in such a directory; nothing when it is not there.
grpc::ServerUnaryReactor* list_below(FileBridge& bridge, grpc::CallbackServerContext* context, const std::string& path,
                                     FindBelow find, google::protobuf::RepeatedPtrField<v1::FileEntry>* files);
// A file's bytes from `offset` on; `job_of` as in FileReader::start.
grpc::ServerWriteReactor<v1::FileChunk>* read_below(FileBridge& bridge, JobWatch& watch, const std::string& path,
                                                    std::uint64_t offset, FindBelow find,
                                                    std::function<Result<JobId>(const core::State&)> job_of);

// A file's bytes to the user. With `follow`, job_of names the job whose end ends the stream, and the reader outlives
// agents: it goes on from where it was with another one, and starts again with the new file of a new attempt.
class FileReader : public grpc::ServerWriteReactor<v1::FileChunk>,
                   public FileSink,
                   public JobWatcher,
                   public std::enable_shared_from_this<FileReader> {
 public:
  FileReader(FileBridge& bridge, JobWatch& watch) : x_bridge(bridge), x_watch(watch), x_timer(bridge.strand) {}
  // Any thread, once. `job_of` (may be empty: no follow) is asked on the loop's thread.
  void start(FindTarget find, std::function<Result<JobId>(const core::State&)> job_of);

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void on_ready(FileExchange& exchange) override;
  void on_data(FileExchange& exchange, std::string data) override;
  void on_done(FileExchange& exchange, const Result<v1::FileDone>& result) override;
  bool on_job(const core::JobView* view) override;  // loop's thread

  void ask();
  void job_changed(bool ended, std::uint32_t attempt, bool has_output);
  void pump();
  void finish(grpc::Status status);

  FileBridge& x_bridge;
  JobWatch& x_watch;
  boost::asio::steady_timer x_timer;
  FileTarget x_target;
  std::shared_ptr<FileExchange> x_exchange;
  bool x_follow = false, x_job_ended = false;
  std::uint32_t x_attempt = 0;  // whose file is read; 0: not known yet
  std::optional<std::chrono::steady_clock::time_point> x_lost_since;

  std::deque<v1::FileChunk> x_queue;
  v1::FileChunk x_chunk;       // of the write under way
  std::uint64_t x_offset = 0;  // of the next byte that an agent sends
  std::optional<grpc::Status> x_end;
  bool x_writing = false, x_finished = false;
  std::shared_ptr<FileReader> x_self;
};

// A user's bytes to a file, which appears only when all are there.
class FileWriter : public grpc::ServerReadReactor<v1::UploadFileRequest>,
                   public FileSink,
                   public std::enable_shared_from_this<FileWriter> {
 public:
  using FindShare = std::function<Result<FileTarget>(const core::State& state, const v1::SharePath& target)>;
  FileWriter(FileBridge& bridge, grpc::CallbackServerContext* context, v1::UploadFileResponse* response, FindShare find)
      : x_bridge(bridge), x_context(context), x_response(response), x_find(std::move(find)), x_timer(bridge.strand) {}
  void start();

 private:
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void on_ready(FileExchange& exchange) override;
  void on_sent(FileExchange& exchange) override;
  void on_done(FileExchange& exchange, const Result<v1::FileDone>& result) override;

  void on_read(bool ok);
  void open();
  void read();
  void finish(grpc::Status status);

  FileBridge& x_bridge;
  grpc::CallbackServerContext* x_context;
  v1::UploadFileResponse* x_response;
  FindShare x_find;
  boost::asio::steady_timer x_timer;
  std::shared_ptr<FileExchange> x_exchange;
  v1::UploadFileRequest x_in;
  std::optional<std::uint64_t> x_promised;  // size that the user announced
  std::uint64_t x_received = 0;
  bool x_reading = false, x_read_all = false, x_finished = false;
  std::shared_ptr<FileWriter> x_self;
};

}  // namespace trainyard::controller
