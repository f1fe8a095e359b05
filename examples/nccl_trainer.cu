// Data-parallel training on GPUs: one process per GPU under MPI (which only carries NCCL's id), gradients summed by
// ncclAllReduce. Built without MPI it is a single worker on GPU 0. Without a GPU it says so and exits with 4.
//   mpirun -np 4 nccl_trainer --data FOLDER|FILE.csv [--epochs N] [--at-least 0.94]
#include <cuda_runtime.h>
#include <nccl.h>
#ifdef EXAMPLE_WITH_MPI
#include <mpi.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <string>

#include "mlp.h"

namespace {

constexpr int kClasses = 10, kHidden = 128, kBatch = 64;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}
void check(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) throw std::runtime_error(std::string(what) + ": " + ncclGetErrorString(result));
}

// Memory on the GPU, freed with its owner.
template <class T>
class OnGpu {
 public:
  explicit OnGpu(std::size_t count) : count_(count) {
    check(cudaMalloc(&at_, count * sizeof(T)), "cudaMalloc");
    clear();
  }
  explicit OnGpu(const std::vector<T>& from) : OnGpu(from.size()) {
    check(cudaMemcpy(at_, from.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "copy to the GPU");
  }
  ~OnGpu() { cudaFree(at_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  void clear() { check(cudaMemset(at_, 0, count_ * sizeof(T)), "cudaMemset"); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    check(cudaMemcpy(values.data(), at_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "copy from the GPU");
    return values;
  }
  T* get() { return at_; }

 private:
  T* at_ = nullptr;
  std::size_t count_;
};

// One block per sample of the batch; its threads are the hidden units. Weights lie as in example::Mlp.
__global__ void add_gradients(const float* weights, float* gradient, float* loss, const float* pixels,
                              const int* labels, const unsigned* order, unsigned first, unsigned stride, int inputs) {
  __shared__ float active[kHidden], odds[kClasses];
  const unsigned sample = order[first + blockIdx.x * stride];
  const float* x = pixels + static_cast<std::size_t>(sample) * inputs;
  const int h = threadIdx.x;
  const int second = inputs * kHidden + kHidden;
  float sum = weights[inputs * kHidden + h];
  for (int i = 0; i < inputs; ++i) sum += x[i] * weights[i * kHidden + h];
  active[h] = fmaxf(sum, 0.0f);
  __syncthreads();
  if (h < kClasses) {
    float score = weights[second + kHidden * kClasses + h];
    for (int k = 0; k < kHidden; ++k) score += active[k] * weights[second + k * kClasses + h];
    odds[h] = score;
  }
  __syncthreads();
  if (h == 0) {
    float highest = odds[0], total = 0.0f;
    for (int c = 1; c < kClasses; ++c) highest = fmaxf(highest, odds[c]);
    for (int c = 0; c < kClasses; ++c) total += odds[c] = expf(odds[c] - highest);
    for (int c = 0; c < kClasses; ++c) odds[c] /= total;
    atomicAdd(loss, -logf(fmaxf(odds[labels[sample]], 1e-9f)));
    odds[labels[sample]] -= 1.0f;
  }
  __syncthreads();
  float back = 0.0f;
  for (int c = 0; c < kClasses; ++c) {
    back += weights[second + h * kClasses + c] * odds[c];
    atomicAdd(&gradient[second + h * kClasses + c], active[h] * odds[c]);
  }
  if (h < kClasses) atomicAdd(&gradient[second + kHidden * kClasses + h], odds[h]);
  if (active[h] <= 0.0f) return;
  atomicAdd(&gradient[inputs * kHidden + h], back);
  for (int i = 0; i < inputs; ++i)
    if (x[i] != 0.0f) atomicAdd(&gradient[i * kHidden + h], x[i] * back);
}

__global__ void apply(float* weights, float* speed, const float* gradient, float scale, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  speed[i] = 0.9f * speed[i] - scale * gradient[i];
  weights[i] += speed[i];
}

struct Workers {
  int rank = 0, size = 1;
  ncclComm_t communicator = nullptr;
};

Workers connect() {
  Workers workers;
  ncclUniqueId id;
#ifdef EXAMPLE_WITH_MPI
  MPI_Comm_rank(MPI_COMM_WORLD, &workers.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &workers.size);
#endif
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr,
                 "nccl_trainer: no GPU here (cudaGetDeviceCount found none); mpi_trainer does the same on CPUs\n");
    std::exit(4);
  }
  const char* local_rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  check(cudaSetDevice(local_rank != nullptr ? std::atoi(local_rank) % devices : 0), "cudaSetDevice");
  if (workers.rank == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
#ifdef EXAMPLE_WITH_MPI
  MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
#endif
  check(ncclCommInitRank(&workers.communicator, workers.size, id, workers.rank), "ncclCommInitRank");
  return workers;
}

int run(const std::string& path, int epochs, double at_least) {
  const Workers workers = connect();
  const example::Dataset data = example::read_dataset(path);
  if (epochs == 0) epochs = data.train.count() < 10000 ? 60 : 5;
  const int inputs = static_cast<int>(data.train.width);
  example::Mlp model(data.train.width, kHidden);
  OnGpu<float> weights(model.weights), speed(model.weights.size()), gradient(model.weights.size()),
      loss(std::size_t{1});
  OnGpu<float> pixels(data.train.pixels);
  OnGpu<int> labels(data.train.labels);
  std::vector<unsigned> order(data.train.count());
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937 random(2);  // the same order everywhere; worker r takes every size-th sample from r on
  const unsigned count = static_cast<unsigned>(model.weights.size());
  const unsigned step = static_cast<unsigned>(kBatch * workers.size);
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    OnGpu<unsigned> on_gpu(order);
    loss.clear();
    unsigned steps = 0;
    for (unsigned first = 0; first + step <= order.size(); first += step, ++steps) {
      gradient.clear();
      add_gradients<<<kBatch, kHidden>>>(weights.get(), gradient.get(), loss.get(), pixels.get(), labels.get(),
                                         on_gpu.get(), first + static_cast<unsigned>(workers.rank),
                                         static_cast<unsigned>(workers.size), inputs);
      check(ncclAllReduce(gradient.get(), gradient.get(), count, ncclFloat, ncclSum, workers.communicator, nullptr),
            "ncclAllReduce");
      apply<<<(count + 255) / 256, 256>>>(weights.get(), speed.get(), gradient.get(), 0.05f / static_cast<float>(step),
                                          count);
    }
    check(cudaDeviceSynchronize(), "training step");
    if (workers.rank == 0)
      std::printf("epoch %d/%d  loss %.4f\n", epoch + 1, epochs, loss.read()[0] / static_cast<float>(steps * kBatch));
  }
  model.weights = weights.read();
  ncclCommDestroy(workers.communicator);
  const example::Score score = model.score(data.test);
  if (workers.rank == 0)
    std::printf("%d workers\nTest loss: %.4f\nTest accuracy: %.4f\n", workers.size, score.loss, score.accuracy);
  return score.accuracy < at_least ? 3 : 0;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef EXAMPLE_WITH_MPI
  MPI_Init(&argc, &argv);
  std::atexit([] { MPI_Finalize(); });
#endif
  std::string data;
  int epochs = 0;
  double at_least = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--data") data = argv[i + 1];
    if (name == "--epochs") epochs = std::atoi(argv[i + 1]);
    if (name == "--at-least") at_least = std::atof(argv[i + 1]);
  }
  if (data.empty()) {
    std::fprintf(stderr, "usage: nccl_trainer --data FOLDER|FILE.csv [--epochs N] [--at-least ACCURACY]\n");
    return 2;
  }
  try {
    return run(data, epochs, at_least);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nccl_trainer: %s\n", error.what());
#ifdef EXAMPLE_WITH_MPI
    MPI_Abort(MPI_COMM_WORLD, 1);
#endif
    return 1;
  }
}
