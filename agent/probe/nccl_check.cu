// trainyard-check-gpu: a health check of nodes with GPUs, one process per node under mpirun. Of each GPU: fills memory
// with patterns and reads them back, measures copies from and to the host (PCIe) and to its neighbour (NVLink or PCIe);
// of all of them together: an NCCL all-reduce across the nodes. Rank 0 writes a JSON object per node, a line each; what
// is too slow is for `trainyard node check` to say. Without a GPU it says so and exits with 4.
#include <cuda_runtime.h>
#include <mpi.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kCopyBytes = 256UL << 20U, kSumFloats = 64UL << 20U, kMostPatternBytes = 8UL << 30U;
constexpr int kRounds = 5, kNoGpu = 4;
constexpr std::size_t kLineBytes = 1024;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}
void check(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) throw std::runtime_error(std::string(what) + ": " + ncclGetErrorString(result));
}

struct OnGpu {
  explicit OnGpu(std::size_t bytes) { check(cudaMalloc(&at, bytes), "cudaMalloc"); }
  ~OnGpu() { cudaFree(at); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  void* at = nullptr;
};

__global__ void fill(unsigned long long* words, std::size_t count, unsigned long long flip) {
  for (std::size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    words[i] = (i * 0x9E3779B97F4A7C15ULL) ^ flip;
  }
}
__global__ void compare(const unsigned long long* words, std::size_t count, unsigned long long flip,
                        unsigned long long* errors) {
  for (std::size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    if (words[i] != ((i * 0x9E3779B97F4A7C15ULL) ^ flip)) atomicAdd(errors, 1ULL);
  }
}

unsigned long long memory_errors() {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const std::size_t bytes = std::min(kMostPatternBytes, free / 10 * 8);
  OnGpu words(bytes), errors(sizeof(unsigned long long));
  check(cudaMemset(errors.at, 0, sizeof(unsigned long long)), "cudaMemset");
  const std::size_t count = bytes / sizeof(unsigned long long);
  for (const unsigned long long flip : {0ULL, ~0ULL}) {
    fill<<<1024, 256>>>(static_cast<unsigned long long*>(words.at), count, flip);
    compare<<<1024, 256>>>(static_cast<unsigned long long*>(words.at), count, flip,
                           static_cast<unsigned long long*>(errors.at));
  }
  check(cudaGetLastError(), "memory test");
  unsigned long long found = 0;
  check(cudaMemcpy(&found, errors.at, sizeof found, cudaMemcpyDeviceToHost), "memory test");
  return found;
}

// GB/s of the best round.
double best_rate(double bytes, const std::function<void()>& copy) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    check(cudaDeviceSynchronize(), "synchronise");
    const auto begun = std::chrono::steady_clock::now();
    copy();
    check(cudaDeviceSynchronize(), "copy");
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    best = std::max(best, bytes / seconds / 1e9);
  }
  return best;
}

// The slowest GPU of the node counts.
struct Figures {
  unsigned long long errors = 0;
  double to_gpu = 1e9, from_gpu = 1e9, to_neighbour = 1e9;
};

void look_at(int gpu, int gpus, Figures& figures) {
  check(cudaSetDevice(gpu), "cudaSetDevice");
  figures.errors += memory_errors();
  OnGpu here(kCopyBytes);
  void* host = nullptr;
  check(cudaMallocHost(&host, kCopyBytes), "cudaMallocHost");
  const auto copy = [&](void* to, void* from, cudaMemcpyKind kind) {
    return best_rate(kCopyBytes, [&] { check(cudaMemcpyAsync(to, from, kCopyBytes, kind), "copy"); });
  };
  figures.to_gpu = std::min(figures.to_gpu, copy(here.at, host, cudaMemcpyHostToDevice));
  figures.from_gpu = std::min(figures.from_gpu, copy(host, here.at, cudaMemcpyDeviceToHost));
  cudaFreeHost(host);
  if (gpus < 2) return;
  const int neighbour = (gpu + 1) % gpus;
  int direct = 0;
  if (cudaDeviceCanAccessPeer(&direct, gpu, neighbour) == cudaSuccess && direct)
    cudaDeviceEnablePeerAccess(neighbour, 0);
  cudaGetLastError();  // "already enabled" is none
  check(cudaSetDevice(neighbour), "cudaSetDevice");
  OnGpu there(kCopyBytes);
  check(cudaSetDevice(gpu), "cudaSetDevice");
  figures.to_neighbour =
      std::min(figures.to_neighbour, best_rate(kCopyBytes, [&] {
                 check(cudaMemcpyPeerAsync(there.at, neighbour, here.at, gpu, kCopyBytes), "copy to its neighbour");
               }));
}

// Bus bandwidth, as NCCL's tests count it. All nodes must have as many GPUs.
double all_reduce(int rank, int nodes, int gpus, bool& right) {
  ncclUniqueId id;
  if (rank == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
  MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
  const int size = nodes * gpus;
  std::vector<ncclComm_t> comms(gpus);
  std::vector<cudaStream_t> streams(gpus);
  std::vector<void*> values(gpus);
  check(ncclGroupStart(), "NCCL");
  for (int gpu = 0; gpu < gpus; ++gpu) {
    check(cudaSetDevice(gpu), "cudaSetDevice");
    check(ncclCommInitRank(&comms[gpu], size, id, rank * gpus + gpu), "ncclCommInitRank");
  }
  check(ncclGroupEnd(), "NCCL's start");
  const std::vector<float> ones(kSumFloats, 1);
  for (int gpu = 0; gpu < gpus; ++gpu) {
    check(cudaSetDevice(gpu), "cudaSetDevice");
    check(cudaStreamCreate(&streams[gpu]), "cudaStreamCreate");
    check(cudaMalloc(&values[gpu], kSumFloats * sizeof(float)), "cudaMalloc");
  }
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    for (int gpu = 0; gpu < gpus; ++gpu) {
      check(cudaSetDevice(gpu), "cudaSetDevice");
      check(cudaMemcpy(values[gpu], ones.data(), kSumFloats * sizeof(float), cudaMemcpyHostToDevice), "copy");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    const auto begun = std::chrono::steady_clock::now();
    check(ncclGroupStart(), "NCCL");
    for (int gpu = 0; gpu < gpus; ++gpu) {
      check(ncclAllReduce(values[gpu], values[gpu], kSumFloats, ncclFloat, ncclSum, comms[gpu], streams[gpu]),
            "ncclAllReduce");
    }
    check(ncclGroupEnd(), "NCCL");
    for (int gpu = 0; gpu < gpus; ++gpu) check(cudaStreamSynchronize(streams[gpu]), "ncclAllReduce");
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  }
  for (int gpu = 0; gpu < gpus; ++gpu) {
    check(cudaSetDevice(gpu), "cudaSetDevice");
    float last = 0;
    check(cudaMemcpy(&last, static_cast<float*>(values[gpu]) + kSumFloats - 1, sizeof last, cudaMemcpyDeviceToHost),
          "copy");
    right = right && last == static_cast<float>(size);
    cudaFree(values[gpu]);
    cudaStreamDestroy(streams[gpu]);
    ncclCommDestroy(comms[gpu]);
  }
  return size < 2 ? 0 : 2.0 * (size - 1) / size * kSumFloats * sizeof(float) / best / 1e9;
}

std::string line_of(int rank, int nodes, int gpus) {
  Figures figures;
  for (int gpu = 0; gpu < gpus; ++gpu) look_at(gpu, gpus, figures);
  bool right = true;
  const double sum = all_reduce(rank, nodes, gpus, right);
  const char* name = std::getenv("TRAINYARD_NODE");
  char line[kLineBytes] = "";
  std::snprintf(line, sizeof line,
                R"({"node":"%s","errors":%llu,"figures":{"gpus":"%d","hostToGpuGBps":"%.1f","gpuToHostGBps":"%.1f")",
                name == nullptr ? "" : name, figures.errors + !right, gpus, figures.to_gpu, figures.from_gpu);
  std::string text = line;
  if (gpus > 1) text += ",\"gpuToGpuGBps\":\"" + std::to_string(figures.to_neighbour) + "\"";
  if (nodes * gpus > 1) text += ",\"ncclAllReduceGBps\":\"" + std::to_string(sum) + "\"";
  return text + "}}";
}

}  // namespace

int main(int argc, char** argv) {
  int gpus = 0;
  if (const auto error = cudaGetDeviceCount(&gpus); error != cudaSuccess || gpus == 0) {
    std::fprintf(stderr, "trainyard-check-gpu: no GPU here: %s\n",
                 error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
    return kNoGpu;
  }
  MPI_Init(&argc, &argv);
  int rank = 0, nodes = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &nodes);
  char line[kLineBytes] = "";
  try {
    std::snprintf(line, sizeof line, "%s", line_of(rank, nodes, gpus).c_str());
  } catch (const std::exception& error) {
    const char* name = std::getenv("TRAINYARD_NODE");
    std::fprintf(stderr, "trainyard-check-gpu: node %s: %s\n", name == nullptr ? "?" : name, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  std::vector<char> lines(rank == 0 ? kLineBytes * nodes : 0);
  MPI_Gather(line, kLineBytes, MPI_CHAR, lines.data(), kLineBytes, MPI_CHAR, 0, MPI_COMM_WORLD);
  for (int node = 0; rank == 0 && node < nodes; ++node) std::printf("%s\n", lines.data() + kLineBytes * node);
  MPI_Finalize();
  return 0;
}
