#include "agent/loop/counter_sampler.h"

#include <chrono>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {

CounterSampler::CounterSampler(boost::asio::io_context& io, DurationMs every_ms, std::shared_ptr<GpuWatch> gpus,
                               Holdings holdings, Send send)
    : x_every_ms(every_ms),
      x_gpus(std::move(gpus)),
      x_holdings(std::move(holdings)),
      x_send(std::move(send)),
      x_timer(io) {}

MachineReading CounterSampler::read() const {
  MachineReading reading = read_machine(boottime_ms());
  reading.holdings = x_holdings();
  return reading;
}

void CounterSampler::start() {
  x_before = read();
  wait();
}

void CounterSampler::set_interval(DurationMs every_ms) {
  if (every_ms == x_every_ms) return;
  x_every_ms = every_ms;
  wait();
}

void CounterSampler::stop() {
  x_timer.cancel();
  if (x_gpus) x_gpus->stop();
}

void CounterSampler::wait() {
  x_timer.expires_after(std::chrono::milliseconds(x_every_ms));
  x_timer.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    wait();
    measure();
  });
}

void CounterSampler::measure() {
  MachineReading now = read();
  CounterSample sample = sample_between(x_before, now);
  x_before = std::move(now);
  if (!x_gpus) return x_send(sample);
  x_gpus->ask([this, sample = std::move(sample)](std::vector<GpuCounters> gpus) mutable {
    sample.gpus = std::move(gpus);
    x_send(sample);
  });
}

}  // namespace trainyard::agent
