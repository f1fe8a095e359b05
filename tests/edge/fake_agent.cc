#include "tests/edge/fake_agent.h"

#include <atomic>
#include <chrono>

#include "proto/agent_convert.h"

namespace trainyard::test {

FakeAgent::FakeAgent(std::shared_ptr<grpc::Channel> channel, std::string name, std::string address, Disk* disk)
    : x_name(std::move(name)), x_address(std::move(address)), x_disk(disk), x_stub(v1::Agents::NewStub(channel)) {
  x_stream = x_stub->Connect(&x_context);
  x_thread = std::thread([this] { run(); });
}

void FakeAgent::stop() {
  x_context.TryCancel();
  if (x_thread.joinable()) x_thread.join();
  {
    const std::lock_guard lock(x_mutex);
    for (grpc::ClientContext* context : x_file_contexts) context->TryCancel();
  }
  for (std::thread& file : x_files) file.join();
  x_files.clear();
}

void FakeAgent::let_heads_exit(int code) {
  const std::lock_guard lock(x_mutex);
  x_exit = code;
  report();
}

std::uint64_t FakeAgent::revision() {
  const std::lock_guard lock(x_mutex);
  return x_orders.revision;
}

std::uint64_t FakeAgent::acknowledged() {
  const std::lock_guard lock(x_mutex);
  return x_acknowledged;
}

std::vector<HoldingOrder> FakeAgent::orders() {
  const std::lock_guard lock(x_mutex);
  return x_orders.holdings;
}

std::string FakeAgent::refused() {
  const std::lock_guard lock(x_mutex);
  return x_refused;
}

grpc::Status FakeAgent::status() {
  x_thread.join();
  return x_status;
}

void FakeAgent::launch(AttemptId attempt, const std::string& host) {
  v1::FromAgent message;
  auto& call = *message.mutable_launch();
  to_proto(attempt, *call.mutable_id()->mutable_attempt());
  call.mutable_id()->set_key("k1");
  call.set_to_host(host);
  call.set_shell_command("orted");
  const std::lock_guard lock(x_mutex);
  x_stream->Write(message);
}

void FakeAgent::count(const v1::CounterSample& sample) {
  v1::FromAgent message;
  *message.mutable_counters() = sample;
  const std::lock_guard lock(x_mutex);
  x_stream->Write(message);
}

std::vector<v1::LaunchStatus> FakeAgent::launch_answers() {
  const std::lock_guard lock(x_mutex);
  return x_answers;
}

std::vector<std::string> FakeAgent::exec_calls() {
  const std::lock_guard lock(x_mutex);
  return x_exec_calls;
}

void FakeAgent::run() {
  {
    const std::lock_guard lock(x_mutex);
    report();
  }
  v1::ToAgent message;
  while (x_stream->Read(&message)) {
    const std::lock_guard lock(x_mutex);
    if (message.has_orders()) {
      x_orders = from_proto(message.orders()).value();
      report();
    } else if (message.has_acknowledge()) {
      x_acknowledged = message.acknowledge().sequence();
    } else if (message.has_refused()) {
      x_refused = message.refused().reason();
    } else if (message.has_launch()) {
      v1::FromAgent answer;
      auto& status = *answer.mutable_launch_status();
      *status.mutable_id() = message.launch().id();
      status.set_state(v1::LaunchStatus::STATE_EXITED);
      status.set_exit_code(7);
      x_stream->Write(answer);
    } else if (message.has_launch_status()) {
      x_answers.push_back(message.launch_status());
    } else if (message.has_file_call() && x_disk != nullptr) {
      x_files.emplace_back([this, id = message.file_call().call_id()] { serve(id); });
    } else if (message.has_exec_call()) {
      x_exec_calls.push_back(message.exec_call().call_id());
    }
  }
  x_status = x_stream->Finish();
}

void FakeAgent::report() {
  Report report;
  report.node_name = x_name;
  report.epoch = "epoch-" + x_name;
  report.store_generation = x_orders.store_generation;
  report.orders_revision = x_orders.revision;
  report.sequence = ++x_sequence;
  report.inventory = {
      "STANDARD_NC6", "gpu", x_address, "10.0.0.0/24", 2, 1 << 30, {{"GPU-" + x_name, "pretend", 1, true}}};
  for (const HoldingOrder& order : x_orders.holdings) {
    HoldingReport holding{order.id};
    switch (order.phase) {
      case HoldingPhase::prepare:
        holding.state = HoldingState::ready;
        break;
      case HoldingPhase::run:
        holding.state = HoldingState::running;
        if (x_exit && order.member == 0) {
          holding.state = HoldingState::exited;
          holding.exit_code = *x_exit;
        }
        break;
      case HoldingPhase::stop:
        holding.state = HoldingState::clean;
        holding.receipt = {x_name, 1, 1, 1, 5};
        break;
    }
    report.holdings.push_back(holding);
  }
  v1::FromAgent message;
  to_proto(report, *message.mutable_report());
  x_stream->Write(message);
}

void FakeAgent::serve(const std::string& call_id) {
  {
    const std::lock_guard lock(x_disk->mutex);
    if (x_disk->stalled) return;
    ++x_disk->served;
  }
  grpc::ClientContext context;
  {
    const std::lock_guard lock(x_mutex);
    x_file_contexts.insert(&context);
  }
  const auto stream = x_stub->ServeFile(&context);
  v1::FileReply reply;
  reply.set_call_id(call_id);
  stream->Write(reply);
  v1::FileRequest request;
  if (stream->Read(&request) && request.has_operation()) perform(*stream, request.operation());
  stream->WritesDone();
  while (stream->Read(&request)) {
  }
  stream->Finish();
  const std::lock_guard lock(x_mutex);
  x_file_contexts.erase(&context);
}

void FakeAgent::perform(FileStream& stream, const v1::FileOperation& operation) {
  const std::string path = operation.root() + "/" + operation.path();
  v1::FileReply done;
  done.mutable_done()->set_code(0);
  v1::FileRequest request;
  switch (operation.kind()) {
    case v1::FileOperation::KIND_WRITE: {
      std::string bytes;
      bool finished = false;
      while (!finished && stream.Read(&request)) {
        bytes += request.data();
        finished = request.finish();
      }
      if (!finished) return;
      const std::lock_guard lock(x_disk->mutex);
      x_disk->files[path] = bytes;
      done.mutable_done()->set_size(bytes.size());
      break;
    }
    case v1::FileOperation::KIND_READ: {
      send_file(stream, operation, path, done);
      return;
    }
    case v1::FileOperation::KIND_LIST: {
      v1::FileReply listing;
      const std::lock_guard lock(x_disk->mutex);
      for (const auto& [name, bytes] : x_disk->files) {
        if (!name.starts_with(path)) continue;
        auto& file = *listing.mutable_listing()->add_files();
        file.set_name(name.substr(name.rfind('/') + 1));
        file.set_size(bytes.size());
      }
      stream.Write(listing);
      break;
    }
    case v1::FileOperation::KIND_DELETE_SHARE:
      while (holds_deletes()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      remove_some(operation.root() + "/", *done.mutable_done());
      break;
    default:
      done.mutable_done()->set_created(true);
      break;
  }
  stream.Write(done);
}

bool FakeAgent::holds_deletes() {
  const std::lock_guard lock(x_disk->mutex);
  return x_disk->holds_deletes;
}

void FakeAgent::remove_some(const std::string& below, v1::FileDone& done) {
  const std::lock_guard lock(x_disk->mutex);
  if (!x_disk->complaint.empty()) {
    done.set_code(grpc::StatusCode::FAILED_PRECONDITION);
    done.set_message(x_disk->complaint);
    return;
  }
  auto& files = x_disk->files;
  auto at = files.lower_bound(below);
  for (; at != files.end() && at->first.starts_with(below) && done.size() < x_disk->removes_at_once;) {
    at = files.erase(at);
    done.set_size(done.size() + 1);
  }
  done.set_more(at != files.end() && at->first.starts_with(below));
}

void FakeAgent::send_file(FileStream& stream, const v1::FileOperation& operation, const std::string& path,
                          v1::FileReply& done) {
  std::uint64_t offset = operation.offset();
  bool finish = !operation.follow();
  std::thread listener;
  std::atomic<bool> finish_heard = finish;
  if (!finish) {
    listener = std::thread([&stream, &finish_heard] {
      v1::FileRequest part;
      while (stream.Read(&part)) finish_heard = finish_heard || part.finish();
      finish_heard = true;
    });
  }
  for (;;) {
    finish = finish_heard;
    std::string bytes;
    {
      const std::lock_guard lock(x_disk->mutex);
      const auto found = x_disk->files.find(path);
      if (found == x_disk->files.end() && finish) {
        done.mutable_done()->set_code(grpc::StatusCode::NOT_FOUND);
        done.mutable_done()->set_message("no such file");
      } else if (found != x_disk->files.end() && offset < found->second.size()) {
        bytes = found->second.substr(offset, 64 * 1024);
      }
    }
    if (!bytes.empty()) {
      v1::FileReply part;
      part.set_data(bytes);
      offset += bytes.size();
      if (!stream.Write(part)) break;
    } else if (finish) {
      break;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  stream.Write(done);
  if (listener.joinable()) listener.join();
}

}  // namespace trainyard::test
