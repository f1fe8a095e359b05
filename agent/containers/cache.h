// Which images were pulled for jobs, and when each was last used: a file per image in a directory of the agent's.
// Engines keep no such record, and images that an operator put into the store are not ours to remove. Any process.
#pragma once

#include <cstdint>
#include <functional>
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

// Removes of `images` (longest unused first) until those left have at most `limit_bytes`. `remove` says whether it
// could: an image that a container uses stays, and the next one goes in its place. Those used since `recent` stay: a
// job may be about to start its container.
void trim_images(const std::vector<CachedImage>& images, std::uint64_t limit_bytes, std::int64_t recent,
                 const std::function<bool(const std::string& id)>& remove);

}  // namespace trainyard::agent
