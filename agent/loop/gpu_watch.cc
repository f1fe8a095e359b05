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

constexpr std::size_t kLongestAnswer = 64 * 1024;

}  // namespace

GpuWatch::GpuWatch(boost::asio::io_context& io, std::string program, Patience patience)
    : x_io(io), x_program(std::move(program)), x_patience(patience), x_late(io) {}

void GpuWatch::ask(Done done) {
  if (!is_ready()) return done({});
  x_asked_ms = boottime_ms();
  x_done = std::move(done);
  x_helper->write("?", nullptr);
  x_late.expires_after(std::chrono::milliseconds(x_patience.answer_ms));
  x_late.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->answer({});
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
    answer(parse_gpus(std::exchange(x_text, {})));
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
  answer({});
}

void GpuWatch::answer(std::vector<GpuCounters> gpus) {
  x_late.cancel();
  if (const auto done = std::exchange(x_done, nullptr)) done(std::move(gpus));
}

void GpuWatch::stop() {
  x_late.cancel();
  x_done = nullptr;
  x_helper = nullptr;
}

}  // namespace trainyard::agent
