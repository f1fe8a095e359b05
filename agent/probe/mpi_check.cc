// trainyard-check-cpu: a health check of nodes without GPUs, one process per node under mpirun. Fills memory with
// patterns and reads them back, measures how fast memory is copied, and how fast all nodes sum a vector over the
// cluster's network. Rank 0 writes a JSON object per node, a line each; what is too slow is for `trainyard node check`
// to say.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kPatternBytes = 256UL << 20U, kCopyBytes = 64UL << 20U, kSumFloats = 4UL << 20U;
constexpr int kRounds = 5;
constexpr std::size_t kLineBytes = 512;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

// Each word is its own address, mixed, and then the complement.
std::uint64_t memory_errors() {
  std::vector<std::uint64_t> words(kPatternBytes / sizeof(std::uint64_t));
  std::uint64_t errors = 0;
  for (const std::uint64_t flip : {0ULL, ~0ULL}) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = (i * 0x9E3779B97F4A7C15ULL) ^ flip;
    asm volatile("" : : "r"(words.data()) : "memory");
    for (std::size_t i = 0; i < words.size(); ++i) errors += words[i] != ((i * 0x9E3779B97F4A7C15ULL) ^ flip);
  }
  return errors;
}

// Bytes read and written, the best of some rounds.
double memory_gb_per_s() {
  std::vector<char> from(kCopyBytes, 1), to(kCopyBytes, 2);
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto begun = Clock::now();
    std::memcpy(to.data(), from.data(), kCopyBytes);
    asm volatile("" : : "r"(to.data()) : "memory");
    best = std::max(best, 2.0 * kCopyBytes / seconds_since(begun) / 1e9);
  }
  return best;
}

struct Sum {
  double gb_per_s = 0;  // bus bandwidth, as NCCL's tests count it: 2 (n - 1) / n of the vector per process
  bool right = true;
};

Sum all_reduce(int rank, int size) {
  std::vector<float> mine(kSumFloats, static_cast<float>(rank + 1)), sum(kSumFloats);
  const float expected = static_cast<float>(size) * static_cast<float>(size + 1) / 2;
  Sum result;
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    MPI_Barrier(MPI_COMM_WORLD);
    const auto begun = Clock::now();
    MPI_Allreduce(mine.data(), sum.data(), static_cast<int>(kSumFloats), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    best = std::min(best, seconds_since(begun));
    for (const float value : sum) result.right = result.right && value == expected;
  }
  if (size > 1) result.gb_per_s = 2.0 * (size - 1) / size * kSumFloats * sizeof(float) / best / 1e9;
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const char* name = std::getenv("TRAINYARD_NODE");
  const std::uint64_t errors = memory_errors();
  const double memory = memory_gb_per_s();
  const Sum sum = all_reduce(rank, size);
  char line[kLineBytes] = "";
  int length = std::snprintf(line, sizeof line, R"({"node":"%s","errors":%llu,"figures":{"memoryGBps":"%.2f")",
                             name == nullptr ? "" : name, static_cast<unsigned long long>(errors + !sum.right), memory);
  if (size > 1)
    length += std::snprintf(line + length, sizeof line - length, R"(,"allReduceGBps":"%.3f")", sum.gb_per_s);
  std::snprintf(line + length, sizeof line - length, "}}");
  std::vector<char> lines(rank == 0 ? kLineBytes * size : 0);
  MPI_Gather(line, kLineBytes, MPI_CHAR, lines.data(), kLineBytes, MPI_CHAR, 0, MPI_COMM_WORLD);
  for (int node = 0; rank == 0 && node < size; ++node) std::printf("%s\n", lines.data() + kLineBytes * node);
  MPI_Finalize();
  return 0;
}
