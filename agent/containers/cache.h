// Which images were pulled for jobs, and when each was last used: a file per image in a directory of the agent's.
// Engines keep no such record, and images that an operator put into the store are not ours to remove. Any process.
#pragma once

#include <string>
#include <vector>

#include "common/time.h"

namespace trainyard::agent {

// `id` as the engine says it ("sha256:..."). It is used now.
void record_use(const std::string& directory, const std::string& id);
void forget_image(const std::string& directory, const std::string& id);

struct CachedImage {
  std::string id;
  std::int64_t last_used = 0;  // seconds
  std::uint64_t bytes = 0;
};
// Those recorded, the longest unused first; without sizes.
std::vector<CachedImage> recorded_images(const std::string& directory);

// Of `images` (longest unused first), the ones to remove so that the rest has at most `limit_bytes`. Those used since
// `recent` stay: a job may be about to start its container. Pure.
std::vector<std::string> images_to_remove(const std::vector<CachedImage>& images, std::uint64_t limit_bytes,
                                          std::int64_t recent);

}  // namespace trainyard::agent
