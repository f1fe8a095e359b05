// What the series of counters cost (docs/decisions/0030): how many samples a second the store takes from many nodes,
// how large the file becomes per node once everything is kept that ever will be, and what is kept of short jobs.
//   counter_bench [DIRECTORY] [NODES] [GPUS]     default: /var/tmp 10000 8
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "storage/counter_store.h"

using namespace trainyard;
using namespace trainyard::storage;
namespace fs = std::filesystem;

namespace {

constexpr TimeMs kStart = 1'700'000'100'000;
constexpr DurationMs kEvery = 15'000;
constexpr std::size_t kBatch = 1'000;

std::mt19937_64 random_numbers(1);  // NOLINT: the same figures each time

double up_to(double most) {
  return std::uniform_real_distribution<double>(0, most)(random_numbers);
}

NodeSample sample(int node, int gpus, TimeMs time_ms) {
  NodeSample out{fmt::format("node-{:05}", node), {}};
  out.sample = {time_ms,     up_to(100), static_cast<std::uint64_t>(up_to(2e12)), 2'000'000'000'000, up_to(1e10),
                up_to(1e10), {}};
  for (int i = 0; i < gpus; ++i) {
    out.sample.gpus.push_back({fmt::format("GPU-{:08x}-5f1c-4c1e-9a55-{:012x}", node, i), up_to(100),
                               static_cast<std::uint64_t>(up_to(8e10)), up_to(700), up_to(90)});
  }
  return out;
}

double seconds_of(const rusage& use) {
  const auto of = [](const timeval& time) { return static_cast<double>(time.tv_sec) + time.tv_usec / 1e6; };
  return of(use.ru_utime) + of(use.ru_stime);
}

void fill(CounterStore& store, int nodes, int gpus, int rounds) {
  std::vector<NodeSample> batch;
  for (int round = 1; round <= rounds; ++round) {
    for (int node = 0; node < nodes; ++node) {
      batch.push_back(sample(node, gpus, kStart + round * kEvery + node % 10'000));
      if (batch.size() < kBatch && !(round == rounds && node + 1 == nodes)) continue;
      if (const Status done = store.append(batch); !done) {
        fmt::print(stderr, "counter_bench: {}\n", done.error().message);
        std::exit(1);
      }
      batch.clear();
    }
  }
}

template <class Work>
std::uintmax_t in_file(const std::string& path, Work work) {
  fs::remove(path);
  {
    auto store = CounterStore::open(path);
    if (!store) {
      fmt::print(stderr, "counter_bench: {}\n", store.error().message);
      std::exit(1);
    }
    work(**store);
  }
  const auto size = fs::file_size(path);
  fs::remove(path);
  return size;
}

// Jobs that had ended after a sample: each is a series until it is forgotten.
void short_jobs(const std::string& path) {
  constexpr int kJobs = 100'000;
  double seconds = 0;
  const auto size = in_file(path, [&](CounterStore& store) {
    std::vector<NodeSample> batch;
    for (int job = 1; job <= kJobs; ++job) {
      batch.push_back(sample(job % 100, 1, kStart + job));
      batch.back().node = fmt::format("job/{}/1/{}", job, batch.back().node);
      if (batch.size() < kBatch && job != kJobs) continue;
      if (!store.append(batch)) std::exit(1);
      batch.clear();
    }
    const auto sweep = [&](TimeMs now) {
      const auto began = std::chrono::steady_clock::now();
      for (auto more = store.sweep(now); more && *more; more = store.sweep(now)) {
      }
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    };
    sweep(kStart + 3'600'000);
    sweep(kStart + 2 * 3'600'000);  // nothing is new
  });
  fmt::print("{} short jobs of a GPU: {:.0f} B each; a sweep over them takes {:.2f} s\n", kJobs,
             static_cast<double>(size) / kJobs, seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = std::string(argc > 1 ? argv[1] : "/var/tmp") + "/counter_bench.db";
  const int nodes = argc > 2 ? std::atoi(argv[2]) : 10'000, gpus = argc > 3 ? std::atoi(argv[3]) : 8;
  constexpr int kRounds = 60;  // 15 minutes: every node's averages are made twice or three times
  in_file(path, [&](CounterStore& store) {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const auto began = std::chrono::steady_clock::now();
    fill(store, nodes, gpus, kRounds);
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    getrusage(RUSAGE_SELF, &after);
    const double cpu = seconds_of(after) - seconds_of(before);
    const double count = static_cast<double>(nodes) * kRounds;
    const double written = static_cast<double>(after.ru_oublock - before.ru_oublock) * 512;
    fmt::print(
        "{} nodes with {} GPUs each, {} rounds: {:.0f} samples/s ({:.1f} s of CPU per round of 15 s); needed {:.0f}/s; "
        "{:.1f} KB written per sample\n",
        nodes, gpus, kRounds, count / wall, cpu / kRounds, nodes / 15.0, written / count / 1000);
  });
  for (const int kept_gpus : {0, gpus}) {
    constexpr int kNodes = 10, kDays = 31;
    const auto size = in_file(path, [&](CounterStore& store) { fill(store, kNodes, kept_gpus, kDays * 24 * 240); });
    fmt::print("a node with {} GPUs, everything kept: {:.2f} MB\n", kept_gpus,
               static_cast<double>(size) / kNodes / 1e6);
  }
  short_jobs(path);
}
