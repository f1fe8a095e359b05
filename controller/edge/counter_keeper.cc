#include "controller/edge/counter_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

namespace trainyard::controller {
namespace {

// What may wait for the thread: half a minute of 10,000 nodes that send every 15 s.
constexpr int kMostSamples = 20'000;
constexpr int kMostReads = 200;  // each takes milliseconds, which samples wait, too
constexpr std::size_t kBatch = 1'000;
constexpr std::chrono::milliseconds kFlushEvery(1'000);
constexpr std::int64_t kReopenEveryMs = 10'000;
constexpr std::int64_t kWarnEveryMs = 10 * 60'000;
constexpr std::int64_t kSweepEveryMs = 60 * 60'000;

bool enter(std::atomic<int>& inside, int most) {
  if (inside.fetch_add(1, std::memory_order_relaxed) < most) return true;
  inside.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

// Makes room for a new file; what is lost is the past.
void begin_anew(const std::string& path, const Error& damage) {
  spdlog::warn("{} is damaged ({}): it is kept as {}.damaged, a new one begins", path, damage.message, path);
  if (const Status aside = storage::put_aside(path); !aside) spdlog::warn("counters: {}", aside.error().message);
}

std::int64_t steady_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

CounterKeeper::CounterKeeper(std::string path, std::function<bool()> has_space)
    : x_path(std::move(path)),
      x_has_space(std::move(has_space)),
      x_work(boost::asio::make_work_guard(x_io)),
      x_flush(x_io),
      x_thread([this] {
        is_open();
        x_io.run();
        flush();
      }) {}

CounterKeeper::~CounterKeeper() {
  boost::asio::post(x_io, [this] {
    x_flush.cancel();
    x_work.reset();
  });
  x_thread.join();
}

void CounterKeeper::take(const std::string& node, CounterSample sample) {
  if (!enter(x_samples, kMostSamples)) return;  // the thread is stuck: another sample comes
  boost::asio::post(x_io, [this, node, sample = std::move(sample)]() mutable {
    x_samples.fetch_sub(1, std::memory_order_relaxed);
    x_newest_ms = std::max(x_newest_ms, sample.time_ms);
    x_batch.push_back({node, std::move(sample)});
    x_batch.size() < kBatch ? flush_later() : flush();
  });
}

void CounterKeeper::on_thread(std::function<void(Error)> refused, std::function<void(storage::CounterStore&)> work) {
  if (!enter(x_reads, kMostReads)) {
    return refused({Code::resource_exhausted, "too many counters are asked for now: try again in a second"});
  }
  boost::asio::post(x_io, [this, refused = std::move(refused), work = std::move(work)] {
    x_reads.fetch_sub(1, std::memory_order_relaxed);
    flush();
    if (is_open()) return work(*x_store);
    // Not UNAVAILABLE: that would have clients wait for a controller that is there.
    refused({Code::failed_precondition, "the counters' file cannot be opened; the controller's log says why"});
  });
}

void CounterKeeper::read(const std::string& node, TimeMs from_ms, TimeMs to_ms, std::function<void(Samples)> done) {
  on_thread(done, [this, node, from_ms, to_ms, done](storage::CounterStore& store) {
    auto samples = store.read(node, from_ms, to_ms);
    if (!samples) failed(samples.error(), 0);
    done(std::move(samples));
  });
}

void CounterKeeper::read_all(const std::string& prefix, TimeMs from_ms, TimeMs to_ms, Each each,
                             std::function<void(Status)> done) {
  const auto work = [this, prefix, from_ms, to_ms, each = std::move(each), done](storage::CounterStore& store) {
    const auto names = store.names(prefix);
    if (!names) {
      failed(names.error(), 0);
      return done(names.error());
    }
    for (const std::string& name : *names) {
      auto samples = store.read(name, from_ms, to_ms);
      if (!samples) {
        failed(samples.error(), 0);
        return done(samples.error());
      }
      if (const Status more = each(name, std::move(samples).value()); !more) return done(more);
    }
    done({});
  };
  on_thread(done, work);
}

void CounterKeeper::flush_later() {
  if (std::exchange(x_flush_set, true)) return;
  x_flush.expires_after(kFlushEvery);
  x_flush.async_wait([this](const boost::system::error_code& error) {
    x_flush_set = false;
    if (error) return;
    flush();
    sweep();
  });
}

void CounterKeeper::flush() {
  if (x_batch.empty()) return;
  const auto batch = std::exchange(x_batch, {});
  if (!x_has_space()) {
    return failed({Code::resource_exhausted, "the state's disk is nearly full, and the state comes first"},
                  batch.size());
  }
  if (!is_open()) return failed({Code::unavailable, x_path + " cannot be opened"}, batch.size());
  if (const Status written = x_store->append(batch); !written) failed(written.error(), batch.size());
}

// With the samples' time: nodes that fell silent while all others did have nobody to compare with, and no hurry.
void CounterKeeper::sweep() {
  const std::int64_t now = steady_ms();
  if (now < x_sweep_ms || !x_store) return;
  x_sweep_ms = now + kSweepEveryMs;
  if (const Status done = x_store->sweep(x_newest_ms); !done) failed(done.error(), 0);
}

// Opens the file when it is not; a damaged one is put aside.
bool CounterKeeper::is_open() {
  if (x_store) return true;
  const std::int64_t now = steady_ms();
  if (now < x_try_open_ms) return false;
  x_try_open_ms = now + kReopenEveryMs;
  auto opened = storage::CounterStore::open(x_path);
  if (!opened && opened.error().code == Code::data_loss) {
    begin_anew(x_path, opened.error());
    opened = storage::CounterStore::open(x_path);
  }
  if (!opened) {
    if (now >= x_warn_ms) spdlog::warn("no counters are kept: {}", opened.error().message);
    x_warn_ms = std::max(x_warn_ms, now + kWarnEveryMs);
    return false;
  }
  x_store = std::move(opened).value();
  return true;
}

void CounterKeeper::failed(const Error& error, std::size_t dropped) {
  x_dropped += dropped;
  if (error.code == Code::data_loss) {
    x_store = nullptr;
    x_try_open_ms = 0;
    return begin_anew(x_path, error);
  }
  const std::int64_t now = steady_ms();
  if (now < x_warn_ms) return;
  x_warn_ms = now + kWarnEveryMs;
  spdlog::warn("counters: {} samples dropped: {}", std::exchange(x_dropped, 0), error.message);
}

}  // namespace trainyard::controller
