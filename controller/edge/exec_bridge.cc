#include "controller/edge/exec_bridge.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace trainyard::controller {
namespace {

constexpr std::chrono::seconds kAnswerWithin(10);  // from the exec call to the agent's stream
constexpr std::size_t kMaxChunk = 256 * 1024;
constexpr std::size_t kMaxCommand = 128 * 1024;  // the kernel's longest argument

using User = ExecBridge::User;
using Agent = ExecBridge::Agent;

grpc::Status invalid(const std::string& message) {
  return {grpc::StatusCode::INVALID_ARGUMENT, message};
}

std::string check_start(const v1::ExecStart& start) {
  switch (start.what_case()) {
    case v1::ExecStart::kCommand:
      if (start.command().empty()) return "command: must not be empty";
      if (start.command().size() >= kMaxCommand) return fmt::format("command: has {} bytes or more", kMaxCommand);
      if (start.command().find('\0') != std::string::npos) return "command: must not contain a NUL character";
      return {};
    case v1::ExecStart::kConnect:
      if (start.has_terminal()) return "terminal: a connection has none";
      if (start.connect().host().empty() || start.connect().host().find('\0') != std::string::npos) {
        return "connect.host: must be a host's name or address as the node sees it";
      }
      if (start.connect().port() == 0 || start.connect().port() > 65535) return "connect.port: must be 1 to 65535";
      return {};
    case v1::ExecStart::WHAT_NOT_SET:
      return "command: is missing; give it, or connect";
  }
  return {};
}

}  // namespace

class ExecSession : public std::enable_shared_from_this<ExecSession> {
 public:
  ExecSession(ExecBridge& bridge, std::string who, FindExec find)
      : x_bridge(bridge), x_who(std::move(who)), x_find(std::move(find)), x_timer(bridge.strand) {}

  User* open() {
    x_user = std::make_shared<User>(x_bridge.strand);
    auto* raw = x_user.get();
    auto self = shared_from_this();
    x_user->start({.on_message = [self](v1::ExecRequest request) { self->on_user(std::move(request)); },
                   .on_written = [self] { self->on_user_written(); },
                   .on_end = [self] { self->on_user_end(); },
                   .on_gone = [self] { self->end_agent(grpc::Status::CANCELLED); }});
    return raw;
  }

  const std::string& node() const { return x_target.node.node_id(); }

  void attach(const std::shared_ptr<Agent>& agent) {
    x_timer.cancel();
    x_agent = agent;
    auto self = shared_from_this();
    x_agent->set_handlers({.on_message = [self](v1::ExecFromAgent message) { self->on_agent(std::move(message)); },
                           .on_written = [self] { self->x_user->read(); },
                           .on_end = [self] { self->on_agent_gone(); },
                           .on_gone = [self] { self->on_agent_gone(); }});
    v1::ExecToAgent message;
    *message.mutable_order() = x_target.order;
    x_agent->write(std::move(message));
    x_agent->read();
  }

 private:
  void on_user(v1::ExecRequest request) {
    if (!x_started) {
      if (!request.has_start()) return finish(invalid("start: must come first"));
      x_started = true;
      return begin(std::move(*request.mutable_start()));
    }
    if (request.has_start()) return finish(invalid("start: comes once"));
    if (request.data().size() > kMaxChunk) {
      return finish(invalid(fmt::format("data: a part has at most {} bytes", kMaxChunk)));
    }
    send(std::move(request));
  }

  void send(v1::ExecRequest request) {
    if (!x_agent) return;
    v1::ExecToAgent message;
    *message.mutable_request() = std::move(request);
    x_agent->write(std::move(message));
  }

  // Half-closing is the end of input; who went away altogether is heard of right after.
  void on_user_end() {
    if (!x_started) return finish(invalid("start: is missing"));
    v1::ExecRequest request;
    request.set_finish(true);
    send(std::move(request));
  }

  void begin(v1::ExecStart start) {
    if (const std::string wrong = check_start(start); !wrong.empty()) return finish(invalid(wrong));
    auto self = shared_from_this();
    const bool taken = x_bridge.context.loop.query([self, start = std::move(start)](const core::State& state, TimeMs) {
      auto target = self->x_find(state, start);
      boost::asio::post(self->x_bridge.strand, [self, target = std::move(target)] { self->note(target); });
    });
    if (!taken) finish(to_grpc(inbox_full()));
  }

  void note(const Result<ExecTarget>& target) {
    if (x_finished) return;
    if (!target) return finish(to_grpc(target.error()));
    x_target = *target;
    if (!x_target.job) return call_agent();
    const v1::ExecOrder& order = x_target.order;
    core::Command command{.principal = x_who,
                          .body = core::NoteExec{
                              *x_target.job, node(),
                              order.command().empty()
                                  ? fmt::format("a connection to {}:{}", order.connect().host(), order.connect().port())
                                  : order.command()}};
    const Status sent = x_bridge.context.send(
        std::move(command), Context::Work::ends,
        [self = shared_from_this()](const Result<core::Subject>& noted, const core::State&, TimeMs) {
          boost::asio::post(self->x_bridge.strand, [self, noted] {
            if (self->x_finished) return;
            noted ? self->call_agent() : self->finish(to_grpc(noted.error()));
          });
        });
    if (!sent) finish(to_grpc(sent.error()));
  }

  void call_agent() {
    const v1::ExecOrder& order = x_target.order;
    spdlog::info("{} {} on node {}{}", x_who, order.command().empty() ? "connects to a port" : "runs a command", node(),
                 order.job() == 0 ? " as root" : fmt::format(" in job {}", order.job()));
    x_call_id = random_hex(16);
    x_bridge.x_expected[x_call_id] = weak_from_this();
    v1::ToAgent message;
    message.mutable_exec_call()->set_call_id(x_call_id);
    std::exchange(x_target.stream, nullptr)->send(std::move(message));
    x_timer.expires_after(kAnswerWithin);
    x_timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (error || self->x_agent) return;
      self->finish({grpc::StatusCode::UNAVAILABLE,
                    fmt::format("node {} did not answer within {} s: try again", self->node(), kAnswerWithin.count())});
    });
  }

  void on_agent(v1::ExecFromAgent message) {
    if (message.has_failure()) {
      return finish({static_cast<grpc::StatusCode>(message.failure().code()), message.failure().message()});
    }
    if (message.reply().has_started()) *message.mutable_reply()->mutable_started() = x_target.node;
    x_over = message.reply().has_end();
    x_user->write(std::move(*message.mutable_reply()));
    if (x_over) finish(grpc::Status::OK);
  }

  void on_user_written() {
    if (x_agent) x_agent->read();
  }

  void on_agent_gone() {
    if (x_over) return;
    x_agent = nullptr;
    finish({grpc::StatusCode::UNAVAILABLE,
            fmt::format("node {} went away: what ran there for this call was killed", node())});
  }

  void end_agent(const grpc::Status& status) {
    x_finished = true;
    x_timer.cancel();
    x_bridge.x_expected.erase(x_call_id);
    if (const auto agent = std::exchange(x_agent, nullptr)) agent->end(status);
  }

  void finish(const grpc::Status& status) {
    if (x_finished) return;
    end_agent(status.ok() ? grpc::Status::OK : grpc::Status(grpc::StatusCode::CANCELLED, "the call has ended"));
    x_user->end(status);
  }

  ExecBridge& x_bridge;
  const std::string x_who;
  FindExec x_find;
  boost::asio::steady_timer x_timer;
  std::shared_ptr<User> x_user;
  std::shared_ptr<Agent> x_agent;
  ExecTarget x_target;
  std::string x_call_id;
  bool x_started = false, x_over = false, x_finished = false;
};

User* ExecBridge::accept_user(std::string who, FindExec find) {
  return std::make_shared<ExecSession>(*this, std::move(who), std::move(find))->open();
}

Agent* ExecBridge::accept_agent(Identity identity) {
  const auto agent = std::make_shared<Agent>(strand);
  const std::weak_ptr<Agent> weak = agent;
  agent->start({.on_message =
                    [this, weak, identity = std::move(identity)](const v1::ExecFromAgent& message) {
                      const auto agent = weak.lock();
                      if (!agent) return;
                      const auto found = x_expected.find(message.call_id());
                      const auto session = found == x_expected.end() ? nullptr : found->second.lock();
                      if (!session)
                        return agent->end({grpc::StatusCode::NOT_FOUND, "nobody waits for this call any more"});
                      if (const auto error = check_node(identity, session->node())) return agent->end(to_grpc(*error));
                      x_expected.erase(found);
                      session->attach(agent);
                    },
                .on_written = {},
                .on_end =
                    [weak] {
                      if (const auto agent = weak.lock()) agent->end(grpc::Status::OK);
                    },
                .on_gone = {}});
  return agent.get();
}

}  // namespace trainyard::controller
