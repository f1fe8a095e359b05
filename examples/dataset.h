// The data sets of the C++ example trainers: MNIST's IDX files (gzipped or not) and the digits.csv of this folder.
// Single-threaded; every worker reads its own copy. Failures throw std::runtime_error naming the file.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace example {

struct Samples {
  std::size_t width = 0;      // values per sample
  std::vector<float> pixels;  // 0..1, one sample after the other
  std::vector<int> labels;    // 0..9
  std::size_t count() const { return labels.size(); }
};

struct Dataset {
  Samples train, test;
};

// A whole file, unpacked when it is gzip (zlib reads plain files too).
inline std::vector<unsigned char> read_unpacked(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path);
  std::vector<unsigned char> bytes;
  unsigned char chunk[65536];
  int got = 0;
  while ((got = gzread(file, chunk, sizeof chunk)) > 0) bytes.insert(bytes.end(), chunk, chunk + got);
  const bool bad = got < 0;
  gzclose(file);
  if (bad) throw std::runtime_error("cannot unpack " + path);
  return bytes;
}

// IDX: 0, 0, type (8 = bytes), number of dimensions, each dimension as 4 bytes big-endian, values.
inline std::vector<unsigned char> read_idx(const std::string& path, std::vector<std::size_t>& sizes) {
  const std::vector<unsigned char> bytes = read_unpacked(path);
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8)
    throw std::runtime_error(path + " is no IDX file of bytes");
  std::size_t at = 4, total = 1;
  for (int i = 0; i < bytes[3]; ++i, at += 4) {
    if (at + 4 > bytes.size()) throw std::runtime_error(path + " ends in its header");
    sizes.push_back(std::size_t{bytes[at]} << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]);
    total *= sizes.back();
  }
  if (bytes.size() - at != total) throw std::runtime_error(path + " has the wrong length");
  return {bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end()};
}

inline Samples read_mnist_part(const std::string& directory, const std::string& part) {
  auto path = [&](const std::string& kind) {
    const std::string plain = directory + "/" + part + "-" + kind;
    return std::ifstream(plain + ".gz").good() ? plain + ".gz" : plain;
  };
  std::vector<std::size_t> image_sizes, label_sizes;
  const auto images = read_idx(path("images-idx3-ubyte"), image_sizes);
  const auto labels = read_idx(path("labels-idx1-ubyte"), label_sizes);
  if (image_sizes.size() != 3 || label_sizes.size() != 1 || image_sizes[0] != label_sizes[0])
    throw std::runtime_error(directory + ": images and labels of " + part + " do not belong together");
  Samples samples;
  samples.width = image_sizes[1] * image_sizes[2];
  for (unsigned char value : images) samples.pixels.push_back(static_cast<float>(value) / 255.0f);
  samples.labels.assign(labels.begin(), labels.end());
  return samples;
}

// Every fifth line is for testing, the rest for training (as the Python example does).
inline Dataset read_digits(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path);
  Dataset data;
  data.train.width = data.test.width = 64;
  std::string line;
  for (std::size_t row = 0; std::getline(file, line); ++row) {
    Samples& part = row % 5 == 0 ? data.test : data.train;
    std::istringstream values(line);
    std::string value;
    for (int column = 0; column < 64 && std::getline(values, value, ','); ++column)
      part.pixels.push_back(std::stof(value) / 16.0f);
    if (!std::getline(values, value))
      throw std::runtime_error(path + " line " + std::to_string(row + 1) + " has fewer than 65 values");
    part.labels.push_back(std::stoi(value));
  }
  return data;
}

// `path`: a folder with MNIST's four IDX files, or the digits as CSV.
inline Dataset read_dataset(const std::string& path) {
  if (path.size() > 4 && path.substr(path.size() - 4) == ".csv") return read_digits(path);
  return {read_mnist_part(path, "train"), read_mnist_part(path, "t10k")};
}

}  // namespace example
