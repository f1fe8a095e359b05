#include "controller/edge/file_users.h"

#include <fmt/format.h>

#include "proto/convert.h"

namespace trainyard::controller {
namespace {

constexpr std::size_t kMaxQueued = 4;  // chunks between a user and an agent
constexpr std::size_t kMaxChunk = 256 * 1024;
constexpr std::chrono::milliseconds kAskAgainAfter(300);
constexpr std::chrono::seconds kGiveUpAfter(30);  // without any agent that could read a followed file

class FileOperationCall : public FileSink, public std::enable_shared_from_this<FileOperationCall> {
 public:
  using Answer = std::function<grpc::Status(const Result<v1::FileDone>&, const v1::FileListing&)>;
  FileOperationCall(grpc::ServerUnaryReactor* reactor, Answer answer)
      : x_reactor(reactor), x_answer(std::move(answer)) {}

  void start(FileBridge& bridge, FileTarget target) {
    x_self = shared_from_this();
    x_exchange = std::make_shared<FileExchange>(bridge, std::move(target), weak_from_this());
    x_exchange->start();
  }

 private:
  void on_listing(FileExchange&, v1::FileListing listing) override { x_listing.MergeFrom(listing); }
  void on_done(FileExchange&, const Result<v1::FileDone>& result) override {
    x_reactor->Finish(x_answer(result, x_listing));
    x_exchange.reset();
    x_self.reset();
  }

  grpc::ServerUnaryReactor* x_reactor;
  Answer x_answer;
  std::shared_ptr<FileExchange> x_exchange;
  v1::FileListing x_listing;
  std::shared_ptr<FileOperationCall> x_self;
};

// Ends a read before it began.
grpc::ServerWriteReactor<v1::FileChunk>* refuse_read(const Error& error) {
  class Refusal : public grpc::ServerWriteReactor<v1::FileChunk> {
   public:
    explicit Refusal(const Error& error) { Finish(to_grpc(error)); }
    void OnDone() override { delete this; }
  };
  return new Refusal(error);
}

}  // namespace

grpc::ServerUnaryReactor* start_file_operation(
    FileBridge& bridge, grpc::CallbackServerContext* context, FindTarget find,
    std::function<grpc::Status(const Result<v1::FileDone>&, const v1::FileListing&)> answer) {
  auto* reactor = context->DefaultReactor();
  const bool taken = bridge.context.loop.query(
      [&bridge, reactor, find = std::move(find), answer = std::move(answer)](const core::State& state, TimeMs) {
        auto target = find(state);
        if (!target) return reactor->Finish(to_grpc(target.error()));
        auto call = std::make_shared<FileOperationCall>(reactor, answer);
        boost::asio::post(bridge.strand,
                          [&bridge, call, target = std::move(target).value()] { call->start(bridge, target); });
      });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

void add_files(const v1::FileListing& listing, google::protobuf::RepeatedPtrField<v1::FileEntry>& files) {
  for (const v1::ListedFile& file : listing.files()) {
    v1::FileEntry& entry = *files.Add();
    entry.set_name(file.name());
    entry.set_is_directory(file.is_directory());
    entry.set_size(file.size());
    set_time(file.modified_ms(), *entry.mutable_modified());
  }
}

FileTarget target_below(const FilePlace& place, const std::string& path, v1::FileOperation::Kind kind) {
  FileTarget target;
  target.operation.set_kind(kind);
  put_volume(place.volume, target.operation);
  target.operation.set_path(path.empty() ? place.path : place.path + "/" + path);
  return target;
}

void add_credential(const std::vector<SealedValue>& credentials, const Volume& volume, const std::string& workspace,
                    FileTarget& target) {
  for (const SealedValue& credential : credentials) {
    if (credential.name == "mount:" + volume.relative_mount_path) target.credential = credential;
  }
  target.workspace = workspace;
}

grpc::ServerUnaryReactor* list_below(FileBridge& bridge, grpc::CallbackServerContext* context, const std::string& path,
                                     FindBelow find, google::protobuf::RepeatedPtrField<v1::FileEntry>* files) {
  const auto clean = clean_path("path", path, true);
  if (!clean) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(to_grpc(clean.error()));
    return reactor;
  }
  return start_file_operation(
      bridge, context,
      [find = std::move(find), path = *clean](const core::State& state) {
        return find(state, path, v1::FileOperation::KIND_LIST);
      },
      [files, root = clean->empty()](const Result<v1::FileDone>& done, const v1::FileListing& listing) {
        if (!done && !(root && done.error().code == Code::not_found)) return to_grpc(done.error());
        add_files(listing, *files);
        return grpc::Status::OK;
      });
}

grpc::ServerWriteReactor<v1::FileChunk>* read_below(FileBridge& bridge, JobWatch& watch, const std::string& path,
                                                    std::uint64_t offset, FindBelow find,
                                                    std::function<Result<JobId>(const core::State&)> job_of) {
  const auto clean = clean_path("path", path, false);
  if (!clean) return refuse_read(clean.error());
  const auto reader = std::make_shared<FileReader>(bridge, watch);
  const bool follow = static_cast<bool>(job_of);
  reader->start(
      [find = std::move(find), path = *clean, offset, follow](const core::State& state) {
        auto target = find(state, path, v1::FileOperation::KIND_READ);
        if (target) target->operation.set_offset(offset), target->operation.set_follow(follow);
        return target;
      },
      std::move(job_of));
  return reader.get();
}

// ---- FileReader ----

void FileReader::start(FindTarget find, std::function<Result<JobId>(const core::State&)> job_of) {
  x_self = shared_from_this();
  x_follow = static_cast<bool>(job_of);
  const bool taken = x_bridge.context.loop.query(
      [self = x_self, find = std::move(find), job_of = std::move(job_of)](const core::State& state, TimeMs) {
        auto target = find(state);
        const Result<JobId> job = job_of ? job_of(state) : Result<JobId>(JobId{});
        if (!target || !job) {
          const Error error = target ? job.error() : target.error();
          return boost::asio::post(self->x_bridge.strand, [self, error] { self->finish(to_grpc(error)); });
        }
        boost::asio::post(self->x_bridge.strand, [self, target = std::move(target).value()] {
          self->x_target = target;
          self->x_offset = target.operation.offset();
          self->ask();
        });
        if (job_of) self->x_watch.add(state, *job, self);
      });
  if (!taken) boost::asio::post(x_bridge.strand, [self = x_self] { self->finish(to_grpc(inbox_full())); });
}

void FileReader::ask() {
  if (x_finished) return;
  x_target.operation.set_offset(x_offset);
  x_exchange = std::make_shared<FileExchange>(x_bridge, x_target, weak_from_this());
  if (x_job_ended) x_exchange->send_finish();
  x_exchange->start();
}

void FileReader::on_ready(FileExchange&) {
  x_lost_since.reset();
}

void FileReader::on_data(FileExchange& exchange, std::string data) {
  if (&exchange != x_exchange.get() || x_finished) return;
  x_lost_since.reset();
  v1::FileChunk& chunk = x_queue.emplace_back();
  chunk.set_offset(x_offset);
  x_offset += data.size();
  chunk.set_data(std::move(data));
  pump();
  if (x_queue.size() < kMaxQueued) exchange.resume();
}

void FileReader::on_done(FileExchange& exchange, const Result<v1::FileDone>& result) {
  if (&exchange != x_exchange.get() || x_finished) return;
  x_exchange.reset();
  const bool lost = !result && result.error().code == Code::unavailable;
  if (!x_follow || !lost) {
    x_end = result ? grpc::Status::OK : to_grpc(result.error());
    return pump();
  }
  // A followed file outlives the agent that reads it: another one goes on at the next byte.
  const auto now = std::chrono::steady_clock::now();
  if (!x_lost_since) x_lost_since = now;
  if (now - *x_lost_since > kGiveUpAfter) {
    x_end = to_grpc(result.error());
    return pump();
  }
  x_timer.expires_after(kAskAgainAfter);
  x_timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error && !self->x_exchange) self->ask();
  });
}

bool FileReader::on_job(const core::JobView* view) {
  const bool ended = view == nullptr || core::terminal(view->row.state);
  const std::uint32_t attempt = view == nullptr ? 0 : view->row.attempt;
  // From here on the files under the exact names are those of this attempt.
  const bool has_output =
      view != nullptr && view->row.state != core::JobState::queued && view->row.state != core::JobState::preparing;
  boost::asio::post(x_bridge.strand, [self = shared_from_this(), ended, attempt, has_output] {
    self->job_changed(ended, attempt, has_output);
  });
  return !ended;
}

void FileReader::job_changed(bool ended, std::uint32_t attempt, bool has_output) {
  if (x_finished) return;
  x_job_ended = x_job_ended || ended;
  if (x_attempt == 0) x_attempt = attempt;
  if (attempt > x_attempt && has_output) {
    // The old attempt's file was moved away: read the new one from its beginning.
    x_attempt = attempt;
    if (const auto old = std::exchange(x_exchange, nullptr)) old->cancel();
    x_timer.cancel();
    x_queue.clear();
    x_end.reset();
    x_offset = 0;
    return ask();
  }
  if (x_job_ended && x_exchange) x_exchange->send_finish();
}

void FileReader::pump() {
  if (x_writing || x_finished) return;
  if (x_queue.empty()) {
    if (x_end) finish(*x_end);
    return;
  }
  x_chunk = std::move(x_queue.front());
  x_queue.pop_front();
  x_writing = true;
  StartWrite(&x_chunk);
}

void FileReader::OnWriteDone(bool ok) {
  boost::asio::post(x_bridge.strand, [self = shared_from_this(), ok] {
    self->x_writing = false;
    if (!ok) return self->finish(grpc::Status::CANCELLED);
    self->pump();
    if (self->x_exchange && self->x_queue.size() < kMaxQueued) self->x_exchange->resume();
  });
}

void FileReader::finish(grpc::Status status) {
  if (x_finished) return;
  x_finished = true;
  x_timer.cancel();
  if (const auto exchange = std::exchange(x_exchange, nullptr)) exchange->cancel();
  Finish(std::move(status));
}

void FileReader::OnCancel() {
  boost::asio::post(x_bridge.strand, [self = shared_from_this()] { self->finish(grpc::Status::CANCELLED); });
}

void FileReader::OnDone() {
  boost::asio::post(x_bridge.strand, [self = shared_from_this()] { self->x_self.reset(); });
}

// ---- FileWriter ----

void FileWriter::start() {
  x_self = shared_from_this();
  read();
}

void FileWriter::read() {
  if (x_reading || x_read_all || x_finished) return;
  x_reading = true;
  x_in.Clear();
  StartRead(&x_in);
}

void FileWriter::OnReadDone(bool ok) {
  boost::asio::post(x_bridge.strand, [self = shared_from_this(), ok] { self->on_read(ok); });
}

void FileWriter::on_read(bool ok) {
  x_reading = false;
  if (x_finished) return;
  const bool first = !x_exchange;
  if (!ok) {
    if (first) return finish({grpc::StatusCode::INVALID_ARGUMENT, "target: is missing"});
    x_read_all = true;
    if (x_promised && *x_promised != x_received) {
      return finish({grpc::StatusCode::ABORTED,
                     fmt::format("{} of {} bytes came: the file was not made", x_received, *x_promised)});
    }
    // A user who went away ends the reads just as one who sent all. Cancellation is known at about the same moment:
    // wait for it a little rather than make half a file.
    x_timer.expires_after(std::chrono::milliseconds(x_promised ? 0 : 10));
    x_timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (error || self->x_finished) return;
      if (self->x_context->IsCancelled()) return self->finish(grpc::Status::CANCELLED);
      self->x_exchange->send_finish();
    });
    return;
  }
  if (first) {
    if (!x_in.has_target()) return finish({grpc::StatusCode::INVALID_ARGUMENT, "target: must come first"});
    if (x_in.has_size()) x_promised = x_in.size();
    return open();
  }
  if (!x_in.has_data()) return finish({grpc::StatusCode::INVALID_ARGUMENT, "data: must follow the target"});
  if (x_in.data().size() > kMaxChunk) {
    return finish({grpc::StatusCode::INVALID_ARGUMENT, fmt::format("data: a part has at most {} bytes", kMaxChunk)});
  }
  x_received += x_in.data().size();
  x_exchange->send_data(std::move(*x_in.mutable_data()));
  if (x_exchange->unsent() < kMaxQueued) read();
}

void FileWriter::open() {
  auto self = shared_from_this();
  const bool taken = x_bridge.context.loop.query([self, target = x_in.target()](const core::State& state, TimeMs) {
    auto found = self->x_find(state, target);
    boost::asio::post(self->x_bridge.strand, [self, found = std::move(found)] {
      if (self->x_finished) return;
      if (!found) return self->finish(to_grpc(found.error()));
      self->x_exchange = std::make_shared<FileExchange>(self->x_bridge, *found, self);
      self->x_exchange->start();
    });
  });
  if (!taken) finish(to_grpc(inbox_full()));
}

void FileWriter::on_ready(FileExchange&) {
  read();
}

void FileWriter::on_sent(FileExchange& exchange) {
  if (exchange.unsent() < kMaxQueued) read();
}

void FileWriter::on_done(FileExchange&, const Result<v1::FileDone>& result) {
  if (x_finished) return;
  if (result) x_response->set_size(result->size());
  finish(result ? grpc::Status::OK : to_grpc(result.error()));
}

void FileWriter::finish(grpc::Status status) {
  if (x_finished) return;
  x_finished = true;
  x_timer.cancel();
  if (const auto exchange = std::exchange(x_exchange, nullptr)) exchange->cancel();
  Finish(std::move(status));
}

void FileWriter::OnCancel() {
  boost::asio::post(x_bridge.strand, [self = shared_from_this()] { self->finish(grpc::Status::CANCELLED); });
}

void FileWriter::OnDone() {
  boost::asio::post(x_bridge.strand, [self = shared_from_this()] { self->x_self.reset(); });
}

}  // namespace trainyard::controller
