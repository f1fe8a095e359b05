#include "agent/loop/gpu_watch.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "agent/exec/files.h"
#include "agent/probe/counters.h"
#include "agent/probe/nvml.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kLongestAnswer = 256 * 1024;

}  // namespace

GpuWatch::GpuWatch(boost::asio::io_context& io, std::string program, Patience patience)
    : x_io(io), x_program(std::move(program)), x_patience(patience), x_late(io) {}

void GpuWatch::ask(Done done) {
  ask('?', [done = std::move(done)](const std::optional<std::string>& text) {
    done(text ? parse_gpus(*text) : std::vector<GpuCounters>());
  });
}

void GpuWatch::ask_states(DoneStates done) {
  ask('i', [done = std::move(done)](const std::optional<std::string>& text) {
    done(text ? parse_states(*text) : std::nullopt);
  });
}

void GpuWatch::ask(char what, Answer done) {
  x_questions.push_back({what, std::move(done)});
  if (!x_answering) ask_next();
}

void GpuWatch::ask_next() {
  while (!x_questions.empty()) {
    if (is_ready()) break;
    const Answer done = std::move(x_questions.front().done);
    x_questions.pop_front();
    done(std::nullopt);
    if (x_answering) return;  // `done` asked again, and that question is under way
  }
  if (x_questions.empty()) return;
  x_asked_ms = boottime_ms();
  x_answering = true;
  x_helper->write(std::string(1, x_questions.front().what), nullptr);
  x_late.expires_after(std::chrono::milliseconds(x_patience.answer_ms));
  x_late.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->answer(std::nullopt);
  });
}

// Whether there is a process that has answered everything so far.
bool GpuWatch::is_ready() {
  const TimeMs now_ms = boottime_ms();
  if (x_no_driver) return false;
  if (!x_helper) {
    if (now_ms < x_not_before_ms) return false;
    if (const auto started = start(); !started) {
      spdlog::warn("no counters of GPUs: {}", started.error().message);
      x_not_before_ms = now_ms + x_patience.restart_ms;
      return false;
    }
  }
  if (x_asked_ms == 0) return true;
  if (!x_killed && now_ms - x_asked_ms >= x_patience.hung_ms) {
    spdlog::warn("no counters of GPUs: the driver does not answer for {} ms; {} is killed", now_ms - x_asked_ms,
                 x_program);
    x_killed = true;
    ::kill(-x_helper->pid(), SIGKILL);  // and its end is waited for, which HelperProcess::kill() would not do
  }
  return false;
}

Status GpuWatch::start() {
  const std::weak_ptr<GpuWatch> weak = weak_from_this();
  auto helper = HelperProcess::start(x_io, {x_program},
                                     {[weak](const std::string& chunk) {
                                        if (const auto self = weak.lock()) self->take_output(chunk);
                                      },
                                      [weak](int exit_code, const std::string& error) {
                                        if (const auto self = weak.lock()) self->ended(exit_code, error);
                                      }});
  if (!helper) return helper.error();
  x_helper = std::move(helper).value();
  x_text.clear();
  x_asked_ms = 0;
  x_killed = false;
  x_helper->read_more();
  return {};
}

void GpuWatch::take_output(const std::string& chunk) {
  if (chunk.empty() || !x_helper) return;
  x_text += chunk;
  if (x_text == "\n" || x_text.ends_with("\n\n")) {
    x_asked_ms = 0;
    answer(std::exchange(x_text, {}));
  } else if (x_text.size() > kLongestAnswer) {
    return;  // nobody who answers so is asked again: the process is killed as one that hangs
  }
  if (x_helper) x_helper->read_more();
}

void GpuWatch::ended(int exit_code, const std::string& error) {
  x_helper = nullptr;
  x_asked_ms = 0;
  x_no_driver = exit_code == kNoDriver;
  x_not_before_ms = boottime_ms() + x_patience.restart_ms;
  if (x_no_driver) {
    spdlog::info("no counters of GPUs: there is no NVIDIA driver");
  } else {
    spdlog::warn("no counters of GPUs for {} ms: {} ended with {}: {}", x_patience.restart_ms, x_program, exit_code,
                 error);
  }
  answer(std::nullopt);
}

// Of the question under way; one that came too late is nobody's.
void GpuWatch::answer(std::optional<std::string> text) {
  x_late.cancel();
  if (!std::exchange(x_answering, false)) return;
  const Answer done = std::move(x_questions.front().done);
  x_questions.pop_front();
  done(std::move(text));
  if (!x_answering) ask_next();
}

void GpuWatch::restart() {
  if (!x_helper || x_asked_ms != 0) return;  // one that hangs is waited for
  x_helper = nullptr;                        // ends with its input
}

void GpuWatch::stop() {
  x_late.cancel();
  x_answering = false;
  x_questions.clear();
  x_helper = nullptr;
}

}  // namespace trainyard::agent
