#include "agent/loop/log_shipper.h"

#include <spdlog/spdlog.h>

#include <chrono>

namespace trainyard::agent {

LogShipper::LogShipper(ExecutorContext& context, std::string root, std::vector<File> files)
    : x_context(context),
      x_root(std::move(root)),
      x_files(std::move(files)),
      x_restart(context.io),
      x_deadline(context.io) {}

void LogShipper::start() {
  if (x_helper) return;
  std::vector<std::string> words{"ship-log", x_root};
  for (const File& file : x_files) {
    if (!file.may_stay_away) touch(file.spooled);
    words.push_back((file.may_stay_away ? "?" + std::to_string(file.most_bytes) : "") + file.spooled);
    words.push_back(file.destination);
  }
  const std::weak_ptr<LogShipper> weak = weak_from_this();
  HelperProcess::Handlers handlers;
  handlers.on_exit = [weak](int exit_code, std::string error) {
    if (const auto self = weak.lock()) self->helper_ended(exit_code, error);
  };
  auto started = HelperProcess::start(x_context.io, helper_command(x_context, words), std::move(handlers));
  if (!started) return helper_ended(1, started.error().message);
  x_helper = std::move(started).value();
  if (x_done) x_helper->write("finish\n", nullptr);
}

void LogShipper::finish(DurationMs deadline_ms, std::function<void(std::string)> done) {
  x_done = std::move(done);
  x_deadline.expires_after(std::chrono::milliseconds(deadline_ms));
  x_deadline.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->finished("gave up after the deadline");
  });
  if (x_helper) {
    x_helper->write("finish\n", nullptr);
  } else {
    x_restart.cancel();
    start();
  }
}

void LogShipper::helper_ended(int exit_code, const std::string& error) {
  x_helper = nullptr;
  if (exit_code == 0 && x_done) return finished({});
  spdlog::warn("log shipping to {} ended ({}): {}; trying again", x_root, exit_code, error);
  x_restart.expires_after(std::chrono::seconds(1));
  x_restart.async_wait([weak = weak_from_this()](const boost::system::error_code& failed) {
    const auto self = weak.lock();
    if (!failed && self) self->start();
  });
}

void LogShipper::finished(std::string error) {
  if (!x_done) return;
  x_deadline.cancel();
  x_restart.cancel();
  if (x_helper) x_helper->kill();
  x_helper = nullptr;
  std::exchange(x_done, nullptr)(std::move(error));
}

}  // namespace trainyard::agent
