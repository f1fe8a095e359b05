#include "agent/loop/exec_server.h"

#include <dirent.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/toolkits.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kMaxSessions = 128;  // each is a process and what it runs
constexpr const char* kCgroupPrefix = "exec-";
constexpr const char* kSourceProfile = "[ -f ~/.bashrc ] && source ~/.bashrc\n";

// Kills until nothing is in it, removes it, and then goes on: never before.
void remove_cgroup(boost::asio::io_context& io, const std::string& path, std::function<void()> then) {
  const Cgroup cgroup(path);
  if (!cgroup.exists() || (!cgroup.populated() && cgroup.remove())) return then();
  cgroup.kill();
  wait_empty(io, cgroup, 1'000, [&io, path, then = std::move(then)](bool) {
    // A process that just died keeps its cgroup busy until its parent has collected it.
    if (const Cgroup left(path); !left.exists() || (!left.populated() && left.remove())) return then();
    auto timer = std::make_shared<boost::asio::steady_timer>(io, std::chrono::milliseconds(10));
    timer->async_wait([&io, path, then, timer](boost::system::error_code error) {
      if (!error) remove_cgroup(io, path, then);
    });
  });
}

void set_variable(std::vector<NamedValue>& environment, const std::string& name, const std::string& value) {
  std::erase_if(environment, [&](const NamedValue& variable) { return variable.name == name; });
  environment.push_back({name, value});
}

bool is_plain_word(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

std::vector<std::string> exec_cgroups(const std::string& parent) {
  std::vector<std::string> found;
  DIR* directory = ::opendir(parent.c_str());
  if (directory == nullptr) return found;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.rfind(kCgroupPrefix, 0) == 0) found.push_back(parent + "/" + name);
  }
  ::closedir(directory);
  return found;
}

}  // namespace

class ExecServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(ExecServer& server, std::string call_id)
      : x_context(server.x_context),
        x_find_job(server.x_find_job),
        x_too_many(server.x_sessions.size() >= kMaxSessions),
        x_call_id(std::move(call_id)) {}

  bool open(const Open& open, std::function<void()> over) {
    ExecHandlers handlers;
    const auto self = shared_from_this();
    handlers.on_order = [self](const ExecOrder& order) { self->begin(order); };
    handlers.on_data = [self](const std::string& data) { self->pass_on(Frame::kInput, data); };
    handlers.on_finish = [self] { self->pass_on(Frame::kFinish, {}); };
    handlers.on_resize = [self](TerminalSize size) {
      self->pass_on(Frame::kSize, std::to_string(size.rows) + " " + std::to_string(size.columns));
    };
    handlers.on_closed = [self, over = std::move(over)] {
      self->x_stream = nullptr;
      self->end_process(over);
    };
    x_stream = open(x_call_id, std::move(handlers));
    return x_stream != nullptr;
  }
  void cancel() {
    if (x_stream) x_stream->cancel();
  }

 private:
  void begin(const ExecOrder& order) {
    if (x_too_many) return fail({Code::resource_exhausted, "the node runs too many commands at once; try again"});
    if (!is_plain_word(x_call_id)) return fail({Code::invalid_argument, "a call id that is no word"});
    auto spec = spec_of(order);
    if (!spec) return fail(spec.error());
    // The job's own cgroup must be there: a job that is gone must not get one again.
    if (::mkdir(spec->process.cgroup.c_str(), 0755) != 0) {
      const bool gone = errno == ENOENT && order.attempt.has_value();
      return fail(gone ? Error{Code::failed_precondition, "the job has just ended"}
                       : system_error("cannot create cgroup " + spec->process.cgroup, errno));
    }
    x_cgroup = spec->process.cgroup;
    if (auto started = start(); !started)
      return end_process([self = shared_from_this(), error = started.error()] { self->fail(error); });
    x_process->write(frame(Frame::kOrder, to_text(*spec)), nullptr);
    x_process->read_more();
    x_stream->read_next();
  }

  Result<ExecSpec> spec_of(const ExecOrder& order) const {
    ExecSpec spec;
    const bool connects = order.command.empty();
    if (order.attempt) {
      auto process = x_find_job(*order.attempt, kSourceProfile + launch_script(order.command));
      if (!process) return process.error();
      spec.process = std::move(process).value();
      if (auto added = add_secrets(spec.process); !added) return added.error();
      spec.process.cgroup += std::string("/") + kCgroupPrefix + x_call_id;
    } else {
      spec.process.argv = {"/bin/bash", "-lc", order.command};
      spec.process.environment = root_environment(x_context.node_name);
      spec.process.working_directory = "/";
      spec.process.cgroup = x_context.cgroup_base + "/" + kCgroupPrefix + x_call_id;
    }
    if (connects) spec.process.argv = {x_context.exec_program, "connect", order.host, std::to_string(order.port)};
    if (order.terminal) {
      spec.terminal = true;
      spec.rows = order.terminal->rows;
      spec.columns = order.terminal->columns;
      set_variable(spec.process.environment, "TERM", order.terminal_type.empty() ? "xterm" : order.terminal_type);
    }
    return spec;
  }

  Status start() {
    const std::weak_ptr<Session> weak = weak_from_this();
    // What a handler does may end the session: it is kept for the time of the call.
    HelperProcess::Handlers handlers;
    handlers.on_output = [weak](const std::string& chunk) {
      if (const auto self = weak.lock()) self->on_output(chunk);
    };
    handlers.on_end = [weak](int, const std::string& complaint) {
      if (const auto self = weak.lock()) self->ended(complaint);
    };
    auto started = HelperProcess::start(x_context.io, {x_context.exec_program}, std::move(handlers));
    if (!started) return started.error();
    x_process = std::move(started).value();
    return {};
  }

  void pass_on(Frame::Kind kind, const std::string& data) {
    if (!x_process) return x_stream ? x_stream->read_next() : void();
    x_process->write(frame(kind, data), [self = shared_from_this()](bool) {
      if (self->x_stream) self->x_stream->read_next();
    });
  }

  void on_output(const std::string& chunk) {
    if (!x_stream || chunk.empty()) return;
    x_frames.feed(chunk);
    std::size_t sent = 0;
    while (const auto found = x_frames.next()) sent += take(*found);
    // The next piece is read when gRPC has taken all of this one.
    if (sent == 0 && x_process) x_process->read_more();
  }

  // How many messages it made.
  std::size_t take(const Frame& found) {
    switch (found.kind) {
      case Frame::kBegan:
        x_stream->send_started();
        return 0;
      case Frame::kOut:
      case Frame::kErr:
        ++x_unsent;
        x_stream->send_output(found.kind == Frame::kErr, found.data, [self = shared_from_this()] {
          if (--self->x_unsent == 0 && self->x_process) self->x_process->read_more();
        });
        return 1;
      case Frame::kEnded:
        x_exit_code = std::atoi(found.data.c_str());
        return 0;
      case Frame::kFailed:
        x_failure =
            Error{Code::internal, "the command cannot be started on node " + x_context.node_name + ": " + found.data};
        return 0;
      default:
        return 0;
    }
  }

  // Of the supervisor.
  void ended(const std::string& complaint) {
    if (!x_stream) return;
    end_process([self = shared_from_this(), complaint] {
      if (!self->x_stream) return;
      if (self->x_exit_code) return self->x_stream->finish(*self->x_exit_code);
      self->fail(self->x_failure.value_or(Error{
          Code::internal, "the command's supervisor died on node " + self->x_context.node_name + ": " + complaint}));
    });
  }

  void end_process(std::function<void()> then) {
    if (x_process) x_process->kill();
    x_process = nullptr;
    if (x_cgroup.empty()) return then();
    remove_cgroup(x_context.io, x_cgroup, std::move(then));
  }

  void fail(const Error& error) {
    if (x_stream) x_stream->fail(error);
  }

  ExecutorContext& x_context;
  const FindJob& x_find_job;
  const bool x_too_many;
  const std::string x_call_id;
  std::string x_cgroup;  // empty: none was made
  std::shared_ptr<ExecStream> x_stream;
  std::shared_ptr<HelperProcess> x_process;
  FrameReader x_frames;
  std::size_t x_unsent = 0;
  std::optional<std::int32_t> x_exit_code;
  std::optional<Error> x_failure;
};

ExecServer::ExecServer(ExecutorContext& context, Open open, FindJob find_job)
    : x_context(context), x_open(std::move(open)), x_find_job(std::move(find_job)) {}

ExecServer::~ExecServer() {
  cancel_all();
}

void ExecServer::serve(const std::string& call_id) {
  const auto session = std::make_shared<Session>(*this, call_id);
  x_sessions.insert(session);
  const std::weak_ptr<Session> weak = session;
  if (!session->open(x_open, [this, weak] { x_sessions.erase(weak.lock()); })) x_sessions.erase(session);
}

void ExecServer::cancel_all() {
  for (const auto& session : x_sessions) session->cancel();
}

void ExecServer::sweep() {
  std::vector<std::string> left = exec_cgroups(x_context.cgroup_base);
  for (const std::string& name : names_found(x_context)) {
    const std::string job = place_of(x_context, name).job_cgroup();
    for (const std::string& parent : {job, job + "/enter"}) {  // the host's, and those that entered a container
      const auto inside = exec_cgroups(parent);
      left.insert(left.end(), inside.begin(), inside.end());
    }
  }
  for (const std::string& path : left) {
    spdlog::warn("killing what a command left in {}", path);
    remove_cgroup(x_context.io, path, [] {});
  }
}

}  // namespace trainyard::agent
