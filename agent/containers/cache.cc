#include "agent/containers/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr const char* kPrefix = "sha256:";

std::string file_of(const std::string& directory, const std::string& id) {
  return directory + "/" + id.substr(id.starts_with(kPrefix) ? 7 : 0);
}

}  // namespace

void record_use(const std::string& directory, const std::string& id) {
  if (directory.empty() || id.empty() || id.find('/') != std::string::npos) return;
  ::mkdir(directory.c_str(), 0700);
  const UniqueFd file(::open(file_of(directory, id).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (file.valid()) ::futimens(file.get(), nullptr);
}

void forget_image(const std::string& directory, const std::string& id) {
  ::unlink(file_of(directory, id).c_str());
}

std::vector<CachedImage> recorded_images(const std::string& directory) {
  std::vector<CachedImage> images;
  DIR* files = ::opendir(directory.c_str());
  if (files == nullptr) return images;
  while (const dirent* entry = ::readdir(files)) {
    struct stat about {};
    if (entry->d_name[0] == '.' || ::stat((directory + "/" + entry->d_name).c_str(), &about) != 0) continue;
    images.push_back({std::string(kPrefix) + entry->d_name, about.st_mtime, 0});
  }
  ::closedir(files);
  std::sort(images.begin(), images.end(), [](const CachedImage& a, const CachedImage& b) {
    return a.last_used != b.last_used ? a.last_used < b.last_used : a.id < b.id;
  });
  return images;
}

void trim_images(const std::vector<CachedImage>& images, std::uint64_t limit_bytes, std::int64_t recent,
                 const std::function<bool(const std::string& id)>& remove) {
  std::uint64_t total = 0;
  for (const CachedImage& image : images) total += image.bytes;
  for (const CachedImage& image : images) {
    if (total <= limit_bytes || image.last_used >= recent) return;
    if (remove(image.id)) total -= image.bytes;
  }
}

}  // namespace trainyard::agent
