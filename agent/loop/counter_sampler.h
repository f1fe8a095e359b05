// Measures this machine every so often and hands the sample on: one that cannot be sent is lost, the next one comes.
// Loop thread only; what can hang is in GpuWatch's process.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "agent/loop/gpu_watch.h"
#include "agent/probe/counters.h"

namespace trainyard::agent {

class CounterSampler {
 public:
  using Send = std::function<void(const CounterSample&)>;
  using Holdings = std::function<std::map<AttemptId, HoldingReading>()>;
  // `gpus` may be null: a machine without any.
  CounterSampler(boost::asio::io_context& io, DurationMs every_ms, std::shared_ptr<GpuWatch> gpus, Holdings holdings,
                 Send send);
  // The first sample comes after one interval: rates need two readings.
  void start();
  void set_interval(DurationMs every_ms);
  void stop();

 private:
  void wait();
  void measure();
  MachineReading read() const;

  DurationMs x_every_ms;
  std::shared_ptr<GpuWatch> x_gpus;
  Holdings x_holdings;
  Send x_send;
  boost::asio::steady_timer x_timer;
  MachineReading x_before;
};

}  // namespace trainyard::agent
