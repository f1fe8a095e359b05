// Keeps the nodes' counters: samples come from the agents' streams, are written in batches by a thread of its own, and
// are read there. Nothing here is state: what cannot be written is dropped with a warning now and then, and neither a
// full disk nor a damaged file stops the controller. All calls: any thread, never blocking.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "storage/counter_store.h"

namespace trainyard::controller {

class CounterKeeper {
 public:
  // `has_space` says whether the state's disk has room for what is no state; called on the keeper's thread.
  CounterKeeper(std::string path, std::function<bool()> has_space);
  // Writes what waits.
  ~CounterKeeper();

  void take(const std::string& node, CounterSample sample);

  using Samples = Result<std::vector<CounterSample>>;
  // The samples with from < time <= to, also those that are not written yet. `done` runs on the keeper's thread.
  void read(const std::string& node, TimeMs from_ms, TimeMs to_ms, std::function<void(Samples)> done);
  // Of every series whose name begins so, one after the other: `each` says whether to go on. Both run on the keeper's
  // thread.
  using Each = std::function<Status(const std::string& name, std::vector<CounterSample> samples)>;
  void read_all(const std::string& prefix, TimeMs from_ms, TimeMs to_ms, Each each, std::function<void(Status)> done);

 private:
  void on_thread(std::function<void(Error)> refused, std::function<void(storage::CounterStore&)> work);
  void flush_later();
  void flush();
  void sweep();
  bool is_open();
  void failed(const Error& error, std::size_t dropped);

  const std::string x_path;
  const std::function<bool()> x_has_space;
  std::atomic<int> x_samples = 0, x_reads = 0;  // on their way to the thread

  // Of the thread.
  boost::asio::io_context x_io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> x_work;
  boost::asio::steady_timer x_flush;
  std::unique_ptr<storage::CounterStore> x_store;  // null: it could not be opened, or not yet
  std::vector<storage::NodeSample> x_batch;
  bool x_flush_set = false;
  std::int64_t x_try_open_ms = 0, x_warn_ms = 0, x_sweep_ms = 0;  // not before these, by a steady clock
  TimeMs x_newest_ms = 0;                                         // of the samples
  std::size_t x_dropped = 0;                                      // since the last warning
  std::thread x_thread;
};

}  // namespace trainyard::controller
