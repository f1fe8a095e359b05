// A network of two layers (pixels → hidden, ReLU → 10 classes, softmax) in one flat vector of weights, so that one
// all-reduce carries the whole gradient. Plain loops that the compiler vectorises. Single-threaded.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "dataset.h"

namespace example {

struct Score {
  double loss = 0, accuracy = 0;
};

class Mlp {
 public:
  static constexpr std::size_t kClasses = 10;

  Mlp(std::size_t inputs, std::size_t hidden) : inputs_(inputs), hidden_(hidden) {
    weights.assign(inputs * hidden + hidden + hidden * kClasses + kClasses, 0.0f);
    std::mt19937 random(1);  // the same start on every worker
    fill(random, 0, inputs * hidden, inputs);
    fill(random, second(), hidden * kClasses, hidden);
  }

  // Adds the gradient of one sample to `gradient`; returns its loss.
  float add_gradient(const float* pixels, int label, std::vector<float>& gradient) {
    forward(pixels);
    const float loss = -std::log(std::max(odds_[static_cast<std::size_t>(label)], 1e-9f));
    odds_[static_cast<std::size_t>(label)] -= 1.0f;
    std::fill(back_.begin(), back_.end(), 0.0f);
    const float* w2 = &weights[second()];
    float* g2 = &gradient[second()];
    for (std::size_t h = 0; h < hidden_; ++h)
      for (std::size_t c = 0; c < kClasses; ++c) {
        g2[h * kClasses + c] += active_[h] * odds_[c];
        back_[h] += w2[h * kClasses + c] * odds_[c];
      }
    for (std::size_t c = 0; c < kClasses; ++c) g2[hidden_ * kClasses + c] += odds_[c];
    for (std::size_t h = 0; h < hidden_; ++h)
      if (active_[h] <= 0.0f) back_[h] = 0.0f;
    for (std::size_t i = 0; i < inputs_; ++i) {
      if (pixels[i] == 0.0f) continue;
      float* row = &gradient[i * hidden_];
      for (std::size_t h = 0; h < hidden_; ++h) row[h] += pixels[i] * back_[h];
    }
    float* bias = &gradient[inputs_ * hidden_];
    for (std::size_t h = 0; h < hidden_; ++h) bias[h] += back_[h];
    return loss;
  }

  Score score(const Samples& samples) {
    Score result;
    for (std::size_t i = 0; i < samples.count(); ++i) {
      forward(&samples.pixels[i * samples.width]);
      const auto label = static_cast<std::size_t>(samples.labels[i]);
      result.loss -= std::log(std::max(odds_[label], 1e-9f));
      if (std::max_element(odds_.begin(), odds_.end()) - odds_.begin() == static_cast<std::ptrdiff_t>(label))
        result.accuracy += 1;
    }
    const auto count = static_cast<double>(std::max<std::size_t>(1, samples.count()));
    return {result.loss / count, result.accuracy / count};
  }

  std::vector<float> weights;

 private:
  std::size_t second() const { return inputs_ * hidden_ + hidden_; }

  void fill(std::mt19937& random, std::size_t from, std::size_t count, std::size_t fan_in) {
    std::normal_distribution<float> normal(0.0f, std::sqrt(2.0f / static_cast<float>(fan_in)));
    for (std::size_t i = 0; i < count; ++i) weights[from + i] = normal(random);
  }

  void forward(const float* pixels) {
    const float* bias = &weights[inputs_ * hidden_];
    active_.assign(bias, bias + hidden_);
    for (std::size_t i = 0; i < inputs_; ++i) {
      if (pixels[i] == 0.0f) continue;
      const float* row = &weights[i * hidden_];
      for (std::size_t h = 0; h < hidden_; ++h) active_[h] += pixels[i] * row[h];
    }
    const float* w2 = &weights[second()];
    odds_.assign(w2 + hidden_ * kClasses, w2 + hidden_ * kClasses + kClasses);
    for (std::size_t h = 0; h < hidden_; ++h) {
      active_[h] = std::max(active_[h], 0.0f);
      for (std::size_t c = 0; c < kClasses; ++c) odds_[c] += active_[h] * w2[h * kClasses + c];
    }
    const float highest = *std::max_element(odds_.begin(), odds_.end());
    float total = 0;
    for (float& odd : odds_) total += odd = std::exp(odd - highest);
    for (float& odd : odds_) odd /= total;
    back_.resize(hidden_);
  }

  std::size_t inputs_, hidden_;
  std::vector<float> active_, odds_, back_;
};

}  // namespace example
