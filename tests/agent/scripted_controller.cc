#include "tests/agent/scripted_controller.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <utility>

namespace trainyard::agent::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

}  // namespace

ScriptedController::ScriptedController() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &x_port);
  builder.RegisterService(this);
  x_server = builder.BuildAndStart();
  REQUIRE(x_server != nullptr);
}

ScriptedController::~ScriptedController() {
  x_server->Shutdown(std::chrono::system_clock::now());
}

void ScriptedController::acknowledge(bool on) {
  const std::lock_guard lock(x_mutex);
  x_acknowledge = on;
}

grpc::Status ScriptedController::Connect(grpc::ServerContext* context, Stream* stream) {
  {
    const std::lock_guard lock(x_mutex);
    x_stream = stream;
    x_context = context;
  }
  v1::FromAgent message;
  while (stream->Read(&message)) take(message);
  const std::lock_guard lock(x_mutex);
  if (x_stream == stream) {
    x_stream = nullptr;
    x_context = nullptr;
  }
  return grpc::Status::OK;
}

void ScriptedController::take(const v1::FromAgent& message) {
  const std::lock_guard lock(x_mutex);
  std::uint64_t sequence = 0;
  if (message.has_report()) {
    auto report = from_proto(message.report());
    if (report) x_report = *report;
    sequence = message.report().sequence();
  }
  if (message.has_same()) sequence = message.same().sequence();
  if (message.has_launch_status()) x_launch_statuses.push_back(message.launch_status());
  if (message.has_launch()) x_launch_call = message.launch();
  if (message.has_counters()) x_counters = message.counters();
  if (sequence != 0 && x_acknowledge) {
    v1::ToAgent answer;
    answer.mutable_acknowledge()->set_sequence(sequence);
    send_locked(answer);
  }
  // As the controller does: an agent that has not seen the newest orders hears them again.
  if (message.has_report() && x_ordered && x_report && x_report->orders_revision != x_orders.revision &&
      x_report->epoch == x_orders.node_epoch) {
    v1::ToAgent again;
    to_proto(x_orders, *again.mutable_orders());
    send_locked(again);
  }
  x_changed.notify_all();
}

void ScriptedController::send_locked(const v1::ToAgent& message) {
  if (x_stream != nullptr) x_stream->Write(message);
}

void ScriptedController::send(const v1::ToAgent& message) {
  const std::lock_guard lock(x_mutex);
  send_locked(message);
}

void ScriptedController::drop_stream() {
  const std::lock_guard lock(x_mutex);
  if (x_context != nullptr) x_context->TryCancel();
}

void ScriptedController::forget_reports() {
  const std::lock_guard lock(x_mutex);
  x_report.reset();
}

Report ScriptedController::report_where(const std::string& what, const std::function<bool(const Report&)>& wanted) {
  std::unique_lock lock(x_mutex);
  INFO("waiting for a report: " << what);
  const bool came = x_changed.wait_for(lock, kPatience, [&] { return x_report && wanted(*x_report); });
  if (!came && x_report) {
    for (const HoldingReport& holding : x_report->holdings) {
      UNSCOPED_INFO("newest: job " << holding.id.job.value << " state " << static_cast<int>(holding.state) << " "
                                   << holding.error.message);
    }
  }
  REQUIRE(came);
  return *x_report;
}

HoldingReport ScriptedController::holding_where(const std::string& what, AttemptId id,
                                                const std::function<bool(const HoldingReport&)>& wanted) {
  HoldingReport found;
  report_where(what, [&](const Report& report) {
    for (const HoldingReport& holding : report.holdings) {
      if (holding.id == id && wanted(holding)) {
        found = holding;
        return true;
      }
    }
    return false;
  });
  return found;
}

void ScriptedController::order_file_servers(std::vector<FileServerOrder> servers) {
  {
    const std::lock_guard lock(x_mutex);
    x_orders.file_servers = std::move(servers);
  }
  order({});
}

void ScriptedController::order(std::vector<HoldingOrder> holdings) {
  const Report report = report_where("the first one", [](const Report&) { return true; });
  const std::lock_guard lock(x_mutex);
  x_orders.store_generation = "store0test";
  x_orders.node_epoch = report.epoch;
  x_orders.revision += 1;
  x_orders.cluster = "g/w/c";
  x_orders.holdings = std::move(holdings);
  x_ordered = true;
  v1::ToAgent message;
  to_proto(x_orders, *message.mutable_orders());
  send_locked(message);
}

v1::LaunchStatus ScriptedController::launch_status() {
  std::unique_lock lock(x_mutex);
  REQUIRE(x_changed.wait_for(lock, kPatience, [&] { return !x_launch_statuses.empty(); }));
  v1::LaunchStatus status = x_launch_statuses.front();
  x_launch_statuses.pop_front();
  return status;
}

v1::CounterSample ScriptedController::counters_where(const std::string& what,
                                                     const std::function<bool(const v1::CounterSample&)>& wanted) {
  std::unique_lock lock(x_mutex);
  x_counters.reset();
  INFO("waiting for counters: " << what);
  REQUIRE(x_changed.wait_for(lock, kPatience, [&] { return x_counters && wanted(*x_counters); }));
  return *x_counters;
}

v1::LaunchCall ScriptedController::launch_call() {
  std::unique_lock lock(x_mutex);
  REQUIRE(x_changed.wait_for(lock, kPatience, [&] { return x_launch_call.has_value(); }));
  return *std::exchange(x_launch_call, std::nullopt);
}

ScriptedController::FileAnswer ScriptedController::file(const v1::FileOperation& operation,
                                                        const std::vector<std::string>& pieces,
                                                        std::function<bool(const std::string&)> stop_following) {
  const auto call = std::make_shared<FileCall>();
  call->operation = operation;
  call->pieces = pieces;
  call->stop_following = std::move(stop_following);
  std::unique_lock lock(x_mutex);
  const std::string id = "call-" + std::to_string(x_next_call++);
  x_files[id] = call;
  v1::ToAgent message;
  message.mutable_file_call()->set_call_id(id);
  send_locked(message);
  REQUIRE(x_changed.wait_for(lock, kPatience, [&] { return call->finished; }));
  return call->answer;
}

grpc::Status ScriptedController::ServeFile(grpc::ServerContext*, FileCallStream* stream) {
  v1::FileReply reply;
  if (!stream->Read(&reply)) return grpc::Status::OK;
  std::shared_ptr<FileCall> call;
  {
    const std::lock_guard lock(x_mutex);
    const auto found = x_files.find(reply.call_id());
    if (found == x_files.end()) return {grpc::StatusCode::NOT_FOUND, "no such call"};
    call = found->second;
  }
  v1::FileRequest request;
  *request.mutable_operation() = call->operation;
  stream->Write(request);
  if (call->operation.kind() == v1::FileOperation::KIND_WRITE) {
    for (const std::string& piece : call->pieces) {
      request.set_data(piece);
      stream->Write(request);
    }
    request.set_finish(true);
    stream->Write(request);
  }
  FileAnswer answer;
  bool stopped = !call->stop_following;
  while (stream->Read(&reply)) {
    if (reply.has_data()) answer.data += reply.data();
    for (const auto& file : reply.listing().files()) answer.names.push_back(file.name());
    if (!stopped && call->stop_following(answer.data)) {
      stopped = true;
      request.set_finish(true);
      stream->Write(request);
    }
    if (reply.has_done()) answer.done = reply.done();
  }
  const std::lock_guard lock(x_mutex);
  call->answer = answer;
  call->finished = true;
  x_changed.notify_all();
  return grpc::Status::OK;
}

}  // namespace trainyard::agent::test
