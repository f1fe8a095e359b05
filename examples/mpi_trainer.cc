// Data-parallel training by MPI_Allreduce: reads MNIST's IDX files (a folder) or digits.csv, trains a small network on
// all ranks, prints the test accuracy on rank 0. Exit code 3 when the accuracy is below --at-least.
//   mpirun -np 4 mpi_trainer --data FOLDER|FILE.csv [--epochs N] [--at-least 0.94]
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <string>

#include "mlp.h"

namespace {

struct Options {
  std::string data;
  int epochs = 0;  // 0: what suits the data set
  double at_least = 0;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--data")
      options.data = argv[i + 1];
    else if (name == "--epochs")
      options.epochs = std::atoi(argv[i + 1]);
    else if (name == "--at-least")
      options.at_least = std::atof(argv[i + 1]);
    else
      return false;
  }
  return argc % 2 == 1 && !options.data.empty();
}

// One pass of all ranks over the whole training set. Returns the mean loss over all ranks.
double train_epoch(example::Mlp& model, const example::Samples& train, std::vector<std::size_t>& order,
                   std::vector<float>& speed, float rate, int rank, int size) {
  const std::size_t batch = 32;  // per rank
  const std::size_t share = train.count() / static_cast<std::size_t>(size);
  std::vector<float> gradient(model.weights.size());
  double loss = 0;
  for (std::size_t first = 0; first + batch <= share; first += batch) {
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    for (std::size_t i = first; i < first + batch; ++i) {
      const std::size_t sample = order[i * static_cast<std::size_t>(size) + static_cast<std::size_t>(rank)];
      loss += model.add_gradient(&train.pixels[sample * train.width], train.labels[sample], gradient);
    }
    MPI_Allreduce(MPI_IN_PLACE, gradient.data(), static_cast<int>(gradient.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    const float scale = rate / static_cast<float>(batch * static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      speed[i] = 0.9f * speed[i] - scale * gradient[i];
      model.weights[i] += speed[i];
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, &loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return loss / static_cast<double>(share / batch * batch * static_cast<std::size_t>(size));
}

int run(const Options& options, int rank, int size) {
  const example::Dataset data = example::read_dataset(options.data);
  const bool small = data.train.count() < 10000;
  const int epochs = options.epochs > 0 ? options.epochs : small ? 60 : 5;
  if (data.train.count() / static_cast<std::size_t>(size) < 32)
    throw std::runtime_error("too few samples for so many ranks");
  if (rank == 0) {
    std::printf("%d ranks, %zu training samples, %zu test samples\n", size, data.train.count(), data.test.count());
    std::fflush(stdout);
  }
  example::Mlp model(data.train.width, small ? 96 : 128);
  std::vector<float> speed(model.weights.size(), 0.0f);
  std::vector<std::size_t> order(data.train.count());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(2);  // the same order everywhere; rank r takes every size-th sample from r on
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    const double start = MPI_Wtime();
    const double loss = train_epoch(model, data.train, order, speed, 0.05f, rank, size);
    if (rank != 0) continue;
    std::printf("epoch %d/%d  loss %.4f  %.2f s\n", epoch + 1, epochs, loss, MPI_Wtime() - start);
    std::fflush(stdout);
  }
  int result = 0;
  if (rank == 0) {
    const example::Score score = model.score(data.test);
    std::printf("Test loss: %.4f\nTest accuracy: %.4f\n", score.loss, score.accuracy);
    if (score.accuracy < options.at_least) result = 3;
  }
  MPI_Bcast(&result, 1, MPI_INT, 0, MPI_COMM_WORLD);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  Options options;
  if (!parse(argc, argv, options)) {
    if (rank == 0)
      std::fprintf(stderr, "usage: mpi_trainer --data FOLDER|FILE.csv [--epochs N] [--at-least ACCURACY]\n");
    MPI_Finalize();
    return 2;
  }
  try {
    const int result = run(options, rank, size);
    MPI_Finalize();
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mpi_trainer: rank %d: %s\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
    return 1;
  }
}
