// Looks at what a job says of its progress, every now and then: each change becomes a report. Loop thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/exec/progress.h"

namespace trainyard::agent {

class ProgressWatch : public std::enable_shared_from_this<ProgressWatch> {
 public:
  ProgressWatch(boost::asio::io_context& io, std::string file) : x_file(std::move(file)), x_timer(io) {}
  // `told` is called for each change, until stop().
  void start(std::function<void(const Progress&)> told);
  void stop();

 private:
  void look();

  const std::string x_file;
  boost::asio::steady_timer x_timer;
  std::function<void(const Progress&)> x_told;
  std::optional<Progress> x_last;
};

// One that has started.
inline std::shared_ptr<ProgressWatch> watch_progress(boost::asio::io_context& io, std::string file,
                                                     std::function<void(const Progress&)> told) {
  auto watch = std::make_shared<ProgressWatch>(io, std::move(file));
  watch->start(std::move(told));
  return watch;
}

}  // namespace trainyard::agent
