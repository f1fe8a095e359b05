#include "agent/loop/file_server.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"
#include "common/model_json.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kMaxSessions = 128;  // each may be a process
constexpr std::size_t kMaxListingBytes = 2 * 1024 * 1024;
constexpr DurationMs kShortDeadlineMs = 30'000;
constexpr std::chrono::seconds kTidyUpWithin(5);
constexpr const char* kRemoveForMs = "8000";  // then the controller asks again: a user who went away is noticed

Result<std::vector<ListedFile>> parse_listing(const std::string& text) {
  std::vector<ListedFile> files;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const auto line = nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(start),
                                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object()) return Error{Code::internal, "the helper's listing cannot be read"};
    files.push_back({line.value("name", std::string()), line.value("is_directory", false),
                     line.value("size", std::uint64_t{0}), line.value("modified_ms", TimeMs{0})});
    start = end + 1;
  }
  return files;
}

std::string without_newline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Error error_of(int exit_code, const std::string& complaint) {
  if (exit_code == -1) return {Code::deadline_exceeded, "no answer from the share within 30 s"};
  return {code_of_helper_exit(exit_code), complaint.empty() ? "the file operation failed" : without_newline(complaint)};
}

}  // namespace

class FileServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(ExecutorContext& context, FileMounts& mounts, bool too_many)
      : x_context(context), x_mounts(mounts), x_too_many(too_many) {}

  bool open(const Open& open, const std::string& call_id, std::function<void()> closed) {
    x_call_id = call_id;
    FileHandlers handlers;
    handlers.on_operation = [self = shared_from_this()](FileOperation operation) { self->begin(operation); };
    handlers.on_data = [self = shared_from_this()](std::string data) { self->on_data(std::move(data)); };
    handlers.on_finish = [self = shared_from_this()] { self->on_finish(); };
    handlers.on_closed = [self = shared_from_this(), closed = std::move(closed)] {
      self->drop_helper();
      self->release();
      self->x_stream = nullptr;
      closed();
    };
    x_stream = open(call_id, std::move(handlers));
    return x_stream != nullptr;
  }
  void cancel() {
    if (x_stream) x_stream->cancel();
  }

 private:
  // A write that was broken off hears the end of its input, and removes its unfinished file; all else is killed.
  void drop_helper() {
    const auto helper = std::exchange(x_helper, nullptr);
    if (!helper) return;
    if (!x_writing || x_finished) return helper->kill();
    helper->close_input();
    const auto timer = std::make_shared<boost::asio::steady_timer>(x_context.io, kTidyUpWithin);
    timer->async_wait([timer, helper](boost::system::error_code) { helper->kill(); });
  }

  void begin(const FileOperation& operation) {
    if (x_too_many) {
      return finish({.status = Error{Code::resource_exhausted, "the node serves too many files at once; try again"}});
    }
    if (!operation.volume_json.empty()) return mount_first(operation);
    if (operation.root.empty() || operation.root.front() != '/') {
      return finish({.status = Error{Code::invalid_argument, "root must be an absolute directory"}});
    }
    const std::string path = operation.path.empty() ? "." : operation.path;
    x_share = !operation.volume_kind.empty();
    switch (operation.kind) {
      case FileOperation::Kind::list:
        return list(operation.root, path);
      case FileOperation::Kind::read:
        return read(operation, path);
      case FileOperation::Kind::write:
        return write(operation.root, path);
      case FileOperation::Kind::mkdir:
        return change({"mkdir", operation.root, path});
      case FileOperation::Kind::remove:
        return change({"delete", operation.root, path});
      case FileOperation::Kind::remove_share:
        return remove_share(operation.root);
      case FileOperation::Kind::none:
        break;
    }
    finish({.status = Error{Code::invalid_argument, "a file operation without a kind"}});
  }

  // Of a server's files: the operation is on the directory where they are mounted.
  void mount_first(FileOperation operation) {
    const auto parsed = nlohmann::json::parse(operation.volume_json, nullptr, false);
    Volume volume;
    try {
      parsed.get_to(volume);
    } catch (const nlohmann::json::exception&) {
      return finish({.status = Error{Code::invalid_argument, "the volume cannot be read"}});
    }
    volume.relative_mount_path.clear();
    if (volume.kind == Volume::Kind::command || volume.kind == Volume::Kind::local) {
      return finish({.status = Error{Code::failed_precondition,
                                     "files of an unmanaged file system can be read by its jobs only"}});
    }
    std::string credential;
    if (operation.credential) {
      auto opened = x_context.key->unseal(secrets::purpose_of_file_call(x_call_id), *operation.credential);
      if (!opened) return finish({.status = opened.error()});
      credential = std::move(opened).value();
    }
    operation.volume_json.clear();
    operation.volume_kind.clear();
    x_mounts.use(volume, credential,
                 [self = shared_from_this(), operation](const Result<std::string>& directory) mutable {
                   if (!directory) return self->finish({.status = directory.error()});
                   self->x_mounted = *directory;
                   if (!self->x_stream) return self->release();
                   operation.root = *directory;
                   self->begin(operation);
                 });
  }

  void release() {
    if (!x_mounted.empty()) x_mounts.release(std::exchange(x_mounted, {}));
  }

  // A share's directory is made by whoever touches it first.
  std::vector<std::string> about_share(std::vector<std::string> words) const {
    if (x_share) words.insert(words.begin() + 1, "--share");
    return words;
  }

  void change(const std::vector<std::string>& words) {
    run_helper(x_context.io, helper_command(x_context, about_share(words)), {}, kShortDeadlineMs,
               [self = shared_from_this()](HelperResult result) {
                 if (result.exit_code != 0) return self->fail(result.exit_code, result.error);
                 self->finish({.status = {}, .size = 0, .created = result.output.rfind("created", 0) == 0});
               });
  }

  void remove_share(const std::string& root) {
    run_helper(x_context.io, helper_command(x_context, about_share({"remove-share", "--limit", kRemoveForMs, root})),
               {}, kShortDeadlineMs, [self = shared_from_this()](HelperResult result) {
                 if (result.exit_code != 0) return self->fail(result.exit_code, result.error);
                 FileDone done;
                 const std::string words = "removed ";
                 if (result.output.starts_with(words)) {
                   done.size = std::strtoull(result.output.c_str() + words.size(), nullptr, 10);
                 }
                 done.more = result.output.find("\nmore") != std::string::npos;
                 self->finish(done);
               });
  }

  void list(const std::string& root, const std::string& path) {
    if (!start({"list", root, path})) return;
    x_on_output = [this](std::string chunk) {
      if (chunk.empty()) return;
      x_output += chunk;
      if (x_output.size() > kMaxListingBytes) {
        x_helper->kill();
        return finish({.status = Error{Code::resource_exhausted, "the directory has too many entries to list"}});
      }
      x_helper->read_more();
    };
    x_on_end = [this](int exit_code, const std::string& error) {
      if (exit_code != 0) return fail(exit_code, error);
      const auto files = parse_listing(x_output);
      if (!files) return finish({.status = files.error()});
      x_stream->send_listing(*files);
      finish({});
    };
    x_helper->read_more();
  }

  void read(const FileOperation& operation, const std::string& path) {
    std::vector<std::string> words{"read", "--offset", std::to_string(operation.offset)};
    if (operation.follow) words.push_back("--follow");
    words.push_back(operation.root);
    words.push_back(path);
    if (!start(words)) return;
    x_on_output = [this](std::string chunk) {
      if (chunk.empty()) return;
      x_stream->send_data(std::move(chunk), [self = shared_from_this()] {
        if (self->x_helper) self->x_helper->read_more();
      });
    };
    x_on_end = [this](int exit_code, const std::string& error) {
      if (exit_code != 0) return fail(exit_code, error);
      finish({});
    };
    x_helper->read_more();
    x_stream->read_next();  // a `finish`, or the news that nobody listens any more
  }

  void write(const std::string& root, const std::string& path) {
    if (!start({"write", root, path})) return;
    x_writing = true;
    x_on_output = [this](std::string chunk) {
      if (chunk.empty()) return;
      x_output += chunk;
      x_helper->read_more();
    };
    x_on_end = [this](int exit_code, const std::string& error) {
      if (exit_code != 0) return fail(exit_code, error);
      finish({.status = {}, .size = std::strtoull(x_output.c_str(), nullptr, 10), .created = true});
    };
    x_helper->read_more();
    x_stream->read_next();
  }

  void on_data(std::string data) {
    if (!x_writing || !x_helper || data.empty()) return x_stream ? x_stream->read_next() : void();
    x_helper->write(write_frame(data), [self = shared_from_this()](bool) {
      if (self->x_stream) self->x_stream->read_next();
    });
  }

  void on_finish() {
    if (!x_helper) return;
    x_helper->write(x_writing ? kFinishFrame : "finish\n", nullptr);
    if (x_writing) x_helper->close_input();
    if (x_stream) x_stream->read_next();
  }

  bool start(const std::vector<std::string>& words) {
    HelperProcess::Handlers handlers;
    const std::weak_ptr<Session> weak = shared_from_this();
    // What a handler does may end the session: it is kept for the time of the call.
    handlers.on_output = [weak](std::string chunk) {
      const auto self = weak.lock();
      if (!self || !self->x_stream) return;
      self->x_on_output(std::move(chunk));
    };
    handlers.on_end = [weak](int exit_code, const std::string& error) {
      const auto self = weak.lock();
      if (self && self->x_stream && !self->x_finished) self->x_on_end(exit_code, error);
    };
    auto started =
        HelperProcess::start(x_context.io, helper_command(x_context, about_share(words)), std::move(handlers));
    if (!started) {
      finish({.status = started.error()});
      return false;
    }
    x_helper = std::move(started).value();
    return true;
  }

  void fail(int exit_code, const std::string& complaint) { finish({.status = error_of(exit_code, complaint)}); }

  void finish(const FileDone& done) {
    if (x_stream && !std::exchange(x_finished, true)) x_stream->finish(done);
  }

  ExecutorContext& x_context;
  FileMounts& x_mounts;
  bool x_too_many;
  std::string x_call_id, x_mounted;  // x_mounted: to be released
  bool x_share = false;              // the root is a share's directory, not one of the agent's own
  std::shared_ptr<FileStream> x_stream;
  std::shared_ptr<HelperProcess> x_helper;
  std::function<void(std::string)> x_on_output;
  std::function<void(int, const std::string&)> x_on_end;
  std::string x_output;
  bool x_writing = false, x_finished = false;
};

FileServer::FileServer(ExecutorContext& context, Open open)
    : x_context(context), x_open(std::move(open)), x_mounts(context) {}

FileServer::~FileServer() {
  for (const auto& session : x_sessions) session->cancel();
}

void FileServer::serve(const std::string& call_id) {
  const auto session = std::make_shared<Session>(x_context, x_mounts, x_sessions.size() >= kMaxSessions);
  x_sessions.insert(session);
  const std::weak_ptr<Session> weak = session;
  if (!session->open(x_open, call_id, [this, weak] { x_sessions.erase(weak.lock()); })) x_sessions.erase(session);
}

}  // namespace trainyard::agent
