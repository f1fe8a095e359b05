#include "agent/loop/container_call.h"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr DurationMs kRemoveDeadlineMs = 60'000, kSweepDeadlineMs = 300'000;

ContainerError broken(const std::string& why) {
  return {"FailedStartingContainer", why, "engine", true};
}

}  // namespace

std::shared_ptr<ContainerCall> ContainerCall::start(const ExecutorContext& context, const std::string& verb,
                                                    const json& request, DurationMs deadline_ms, Say say, Done done) {
  auto call = std::make_shared<ContainerCall>(context);
  call->x_say = std::move(say);
  call->x_done = std::move(done);
  if (const auto begun = call->begin(context, verb, request, deadline_ms); !begun) {
    boost::asio::post(context.io, [call, message = begun.error().message] { call->answer(nullptr, broken(message)); });
  }
  return call;
}

Status ContainerCall::begin(const ExecutorContext& context, const std::string& verb, const json& request,
                            DurationMs deadline_ms) {
  const std::weak_ptr<ContainerCall> weak = weak_from_this();
  HelperProcess::Handlers handlers;
  handlers.on_output = [weak](const std::string& chunk) {
    if (const auto self = weak.lock()) self->take(chunk);
  };
  handlers.on_end = [weak](int, const std::string& complaint) {
    const auto self = weak.lock();
    if (self) self->answer(nullptr, broken("trainyard-container ended without an answer: " + complaint));
  };
  auto started = HelperProcess::start(context.io, {context.container_program, verb}, std::move(handlers));
  if (!started) return started.error();
  x_process = std::move(started).value();
  // The password, if there is one, goes this way only.
  x_process->write(line_of({{"settings", context.containers}, {"request", request}}), nullptr);
  x_process->close_input();
  x_process->read_more();
  x_timer.expires_after(std::chrono::milliseconds(deadline_ms));
  x_timer.async_wait([weak, verb](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    self->answer(nullptr, broken("the container runtime did not answer in time (" + verb + ")"));
  });
  return {};
}

void ContainerCall::take(const std::string& chunk) {
  x_pending += chunk;
  for (std::size_t end; (end = x_pending.find('\n')) != std::string::npos;) {
    const std::string line = x_pending.substr(0, end);
    x_pending.erase(0, end + 1);
    take_line(line);
  }
  if (x_process && !chunk.empty()) x_process->read_more();
}

void ContainerCall::take_line(const std::string& line) {
  json value = json::parse(line, nullptr, false);
  if (!value.is_object()) return;
  if (value.contains("say") && x_say) x_say(value["say"].get<std::string>());
  if (value.contains("result")) return answer(std::move(value["result"]), {});
  if (value.contains("error")) answer(nullptr, value["error"].get<ContainerError>());
}

void ContainerCall::answer(json result, ContainerError error) {
  const auto self = shared_from_this();
  const auto done = std::exchange(x_done, nullptr);
  cancel();
  if (done) done(std::move(result), std::move(error));
}

void ContainerCall::cancel() {
  x_done = nullptr;
  x_timer.cancel();
  // Kept until its present handler has returned.
  if (auto process = std::exchange(x_process, nullptr)) process->kill();
}

void remove_container(const ExecutorContext& context, const Place& place, std::function<void(int)> done) {
  const std::string root = context.cgroup_base.substr(0, context.cgroup_base.size() - context.cgroup_parent.size() - 1);
  const json request{{"name", place.name}, {"cgroup_parent", place.job_cgroup().substr(root.size())}};
  const auto kept = std::make_shared<std::shared_ptr<ContainerCall>>();
  *kept = ContainerCall::start(
      context, "remove", request, kRemoveDeadlineMs, nullptr,
      [kept, done = std::move(done), name = place.name](const json& result, const ContainerError& error) {
        const auto call = std::exchange(*kept, nullptr);
        if (!error.message.empty()) spdlog::warn("{}: its container is left: {}", name, error.message);
        done(result.is_number() ? result.get<int>() : -1);
      });
}

void sweep_containers(const ExecutorContext& context, const std::vector<std::string>& keep) {
  if (context.containers.kind == "none") return;
  const auto kept = std::make_shared<std::shared_ptr<ContainerCall>>();
  *kept = ContainerCall::start(context, "sweep", keep, kSweepDeadlineMs, nullptr,
                               [kept](const json& result, const ContainerError& error) {
                                 const auto call = std::exchange(*kept, nullptr);
                                 if (!error.message.empty())
                                   spdlog::warn("containers of an earlier life may be left: {}", error.message);
                                 if (result.is_number() && result.get<int>() > 0) {
                                   spdlog::warn("removed {} containers of an earlier life", result.get<int>());
                                 }
                               });
}

}  // namespace trainyard::agent
